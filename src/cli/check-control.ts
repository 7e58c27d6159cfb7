import type { ControlKey, ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import type { Finding } from '#core/finding.ts';
import type { Config } from '../config/config.ts';
import { withLog, withSink, withSource, type CommandContext } from './context.ts';

/** The kind of what is kept in files beside the daemon. */
const EMBEDDED = 'embedded';
/** A lease must outlive a few slow renewals. */
const RENEWALS_IN_TTL = 3;
/** The slowest of so few is what is reckoned with as the 99th percentile. */
const RENEWALS_MEASURED = 20;

export async function controlFindings(context: CommandContext, control: ControlStore, config: Config): Promise<readonly Finding[]> {
  return [await swapFinding(context, control, config), ...(await domainFindings(context, control, config))];
}

/** Writes and removes a row of its own: whether compare-and-swap works, and every right is there, shows only when it is used. */
async function swapFinding({ io, parts: { runtime } }: CommandContext, control: ControlStore, config: Config): Promise<Finding> {
  const key = `check/${Math.floor(runtime.random() * 2 ** 40).toString(36)}` as ControlKey;
  const made = await control.swap({ key, value: { check: 1 }, expected: null }, io.signal);
  if (made.tag !== 'stored') return broken();
  const again = await control.swap({ key, value: { check: 0 }, expected: null }, io.signal);
  // The first call also made the connection; a renewal does not.
  let last = made.version;
  let elapsedMs = 0;
  for (let check = 2; check < 2 + RENEWALS_MEASURED; check += 1) {
    const startedAt = runtime.monotonicMs();
    const renewed = await control.swap({ key, value: { check }, expected: last }, io.signal);
    elapsedMs = Math.max(elapsedMs, runtime.monotonicMs() - startedAt);
    if (renewed.tag !== 'stored') return broken();
    last = renewed.version;
  }
  const listed = await control.list(key, io.signal);
  const removed = await control.remove(key, last, io.signal);
  if (again.tag !== 'conflict' || listed.length !== 1 || removed.tag !== 'removed') return broken();
  const tight = config.pipelines.filter(({ leaseTtlMs }) => leaseTtlMs < RENEWALS_IN_TTL * elapsedMs);
  if (tight.length === 0) {
    const title = `the control store answers, and compares before it swaps (${elapsedMs.toFixed(0)} ms at most)`;
    return { id: 'G-006', level: 'ok', title, details: [], mend: [] };
  }
  return {
    id: 'G-006',
    level: 'warning',
    title: `a write to the control store took ${elapsedMs.toFixed(0)} ms, which is much for the lease`,
    details: tight.map(({ name, leaseTtlMs }) => `${name}: lease.ttl is ${leaseTtlMs} ms`),
    mend: ['Raise `lease.ttl`, or use a control store that is nearer or has a faster disk.'],
  };
}

function broken(): Finding {
  return {
    id: 'G-006',
    level: 'error',
    title: 'compare-and-swap of the control store does not work',
    details: [],
    mend: ['Use another store for `control`.'],
  };
}

/** Names of databases are `server/database`. What does not answer is told by its own checks. */
async function domainFindings(context: CommandContext, control: ControlStore, config: Config): Promise<readonly Finding[]> {
  const own = await control.database?.(context.io.signal);
  if (own === undefined) return machineFindings(config);
  if (own === null) {
    const title = 'whether the control store is on a server that is failed over: its server does not tell which one it is';
    return [{ id: 'G-007', level: 'skipped', title, details: [], mend: [] }];
  }
  const others = await databasesOf(context, config);
  const inside = others.filter(({ name }) => name === own).map(({ what }) => what);
  const beside = others.filter(({ name }) => name !== own && serverOf(name) === serverOf(own)).map(({ what }) => what);
  const found = { id: 'G-007', mend: ['Give `control` a database on a server that is not failed over.'] };
  if (inside.length > 0) {
    return [{ ...found, level: 'error', title: 'the control store is in a database that is failed over', details: inside }];
  }
  if (beside.length > 0) {
    const title = 'the control store is on the server of a database that is failed over: both are lost, or go back, together';
    return [{ ...found, level: 'warning', title, details: beside }];
  }
  return [{ ...found, level: 'ok', title: 'the control store is on none of the servers of sources and sinks', details: [], mend: [] }];
}

/** A file outlives no machine, and daemons on another one have no part in it: they would capture as if they were alone. */
function machineFindings({ control, pipelines }: Config): readonly Finding[] {
  const reached = pipelines.filter(({ log }) => log.kind !== EMBEDDED).map(({ name, log }) => `${name}: its log is ${log.kind}`);
  if (control.kind !== EMBEDDED || reached.length === 0) return [];
  return [
    {
      id: 'G-007',
      level: 'warning',
      title:
        'the control store is a file of this machine, and a log is reached from others: it is lost with the machine, and fences none of them',
      details: reached,
      mend: ['Use `postgres`, `dynamodb` or `kubernetes` for `control`: docs/control-stores.md.'],
    },
  ];
}

function serverOf(name: string): string {
  return name.slice(0, name.indexOf('/'));
}

type Named = { readonly what: string; readonly name: string };

async function databasesOf(context: CommandContext, config: Config): Promise<readonly Named[]> {
  const { signal } = context.io;
  const found: Named[] = [];
  const add = async (what: string, ask: () => Promise<string | undefined>): Promise<void> => {
    try {
      const name = await ask();
      if (name !== undefined) found.push({ what, name });
    } catch (error) {
      if (!(error instanceof CausewayError)) throw error;
    }
  };
  for (const pipeline of config.pipelines) {
    await add(`${pipeline.name}: source`, () => withSource(context, pipeline, async (source) => source.database?.(signal)));
    for (const sink of pipeline.sinks) {
      await add(`${pipeline.name}: sink ${sink.name}`, async () => {
        const partitions = await withLog(context, pipeline, (log) => Promise.resolve(log.partitions));
        return await withSink(context, { pipeline, sink, partitions }, async (built) => built.database?.(signal));
      });
    }
  }
  return found;
}
