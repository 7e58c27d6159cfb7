import { controlKeys, type LeaseRow, type RequestRow, type StepDownArgs } from '#core/control-rows.ts';
import type { ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import { loadedConfig, onePipeline, timeoutMs, withControl, type CommandContext } from './context.ts';
import { formatAge, printJson } from './io.ts';
import { watchLease } from './lease-watch.ts';
import { changeRow, valueOf } from './rows.ts';

const POLL_MS = 100;
/** Of `causeway lease step-down` where the same daemon has the lease again: nobody else wanted it. */
const NOT_TO_BE_HAD = 6;
const TIMED_OUT = 5;

type Outcome = 'taken-over' | 'taken-again' | 'released' | 'held';

/** Asks the holder to bring what it has in hand to its end and to release the lease, and waits until another daemon has it. */
export async function stepDown(context: CommandContext): Promise<number> {
  const { io, options } = context;
  const config = await loadedConfig(context);
  const { name } = onePipeline(config, options.pipeline);
  return await withControl(context, config, async (control) => {
    const before = await valueOf<LeaseRow>(control, controlKeys.lease(name), io.signal);
    if (before === null || before.holder === null) {
      io.stderr(`nothing to do: nobody holds the lease of ${name}\n`);
      if (options.output === 'json') printJson(io, 'Lease', { lease: name, outcome: 'released', row: before });
      return 0;
    }
    const request: RequestRow = {
      kind: 'lease-step-down',
      args: { generation: before.token } satisfies StepDownArgs,
      state: 'pending',
      result: null,
    };
    await changeRow<RequestRow>(control, { key: controlKeys.stepDown(name), change: () => request }, io.signal);
    const { outcome, row } = await awaitHandOver(context, { control, pipeline: name, before });
    if (options.output === 'json') printJson(io, 'Lease', { lease: name, outcome, row });
    const old = personName(before);
    switch (outcome) {
      case 'taken-over':
        io.stderr(`${personName(row)} took over from ${old} with generation ${row.token}\n`);
        return 0;
      case 'taken-again':
        io.stderr(`${old} released the lease of ${name} and has it again, with generation ${row.token}: no other daemon wanted it\n`);
        return NOT_TO_BE_HAD;
      case 'released':
        io.stderr(`${old} released the lease of ${name}; nobody has taken it within ${options.timeout}\n`);
        return TIMED_OUT;
      case 'held':
        io.stderr(
          `${old} has not released the lease of ${name} within ${options.timeout}; the request goes on. ` +
            '`causeway lease describe` tells whether it still renews it, and `causeway lease break` ends that of a dead one\n',
        );
        return TIMED_OUT;
    }
  });
}

async function awaitHandOver(
  { io, options, parts }: CommandContext,
  of: { readonly control: ControlStore; readonly pipeline: string; readonly before: LeaseRow },
): Promise<{ readonly outcome: Outcome; readonly row: LeaseRow }> {
  const { control, pipeline, before } = of;
  const waitMs = timeoutMs(options);
  const startedAt = parts.runtime.monotonicMs();
  while (true) {
    const row = await valueOf<LeaseRow>(control, controlKeys.lease(pipeline), io.signal);
    if (row === null) throw new CausewayError('lease_lost', `the lease of ${pipeline} is gone: the pipeline was removed meanwhile`);
    if (row.holder !== null && row.token > before.token) {
      return { outcome: personName(row) === personName(before) ? 'taken-again' : 'taken-over', row };
    }
    if (parts.runtime.monotonicMs() - startedAt >= waitMs) return { outcome: row.holder === null ? 'released' : 'held', row };
    await parts.runtime.sleep(POLL_MS, io.signal);
  }
}

/** Ends a dead holder's lease, so that nobody has to wait for its ttl. Its token stays: the next one is greater. */
export async function breakLease(context: CommandContext, { force = false }: { readonly force?: boolean }): Promise<number> {
  const { io, options, parts } = context;
  const config = await loadedConfig(context);
  const { name } = onePipeline(config, options.pipeline);
  return await withControl(context, config, async (control) => {
    const before = await valueOf<LeaseRow>(control, controlKeys.lease(name), io.signal);
    const broken = before === null || before.holder === null ? null : await (force ? breakAnyway() : breakDead(before));
    if (broken === null) io.stderr(`nothing to do: nobody holds the lease of ${name}\n`);
    else io.stderr(`the lease of ${name} is free; the next generation is ${broken.token + 1}\n`);
    if (options.output === 'json') printJson(io, 'Lease', { lease: name, broken: broken !== null, row: broken ?? before });
    return 0;

    async function breakDead(held: LeaseRow): Promise<LeaseRow | null> {
      io.stderr(`looking for up to ${formatAge(held.ttlMs / 2)} whether the holder still renews it\n`);
      const seen = await watchLease({ control, runtime: parts.runtime, pipeline: name }, io.signal);
      if (seen === null || seen.row.holder === null) return null;
      const value = freed(seen.row);
      const swap =
        seen.movedAt === null
          ? await control.swap({ key: controlKeys.lease(name), value, expected: seen.version }, io.signal)
          : { tag: 'conflict' };
      if (swap.tag === 'stored') return value;
      throw new CausewayError(
        'refused',
        `${personName(seen.row)} renews the lease of ${name}, so it lives; \`causeway lease step-down\` asks it to hand over, ` +
          'and --force breaks the lease all the same; nothing was changed',
      );
    }

    async function breakAnyway(): Promise<LeaseRow | null> {
      io.stderr(
        'warning: a holder that lives finds at its next renewal that it lost the lease, and its process ends with the code 6, other ' +
          'pipelines in it too. Until then two daemons may read the source; what the old one still writes is of the older generation, ' +
          'changes nothing and is sent again.\n',
      );
      const change = (now: LeaseRow | null): LeaseRow | null => (now === null || now.holder === null ? null : freed(now));
      return await changeRow<LeaseRow>(control, { key: controlKeys.lease(name), change }, io.signal);
    }
  });
}

function freed(row: LeaseRow): LeaseRow {
  return { ...row, holder: null, describedAs: null };
}

function personName(row: LeaseRow): string {
  return row.describedAs ?? row.holder ?? 'nobody';
}
