import { controlKeys, type CheckpointRow, type LeaseRow, type RequestRow, type StepDownArgs } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import { fencingTokenOf, type MonoMs } from '#core/position.ts';
import type { ControlStore } from '#core/control.ts';
import type { PipelineConfig } from '../config/config.ts';
import { loadedConfig, onePipeline, pipelinesOf, withControl, type CommandContext } from './context.ts';
import { formatAge, printJson, printTable } from './io.ts';
import { ageOf, watchLease, type WatchedLease } from './lease-watch.ts';
import { raiseEpoch } from './raise-epoch.ts';
import { changeRow, livingHolder, valueOf } from './rows.ts';

/** Every pipeline's lease, and what moved while it was looked at. */
export async function list(context: CommandContext): Promise<number> {
  const { io, options, parts } = context;
  const config = await loadedConfig(context);
  const { runtime } = parts;
  const leases = await withControl(context, config, async (control) => {
    const pipelines = pipelinesOf(config, options.pipeline);
    return await Promise.all(
      pipelines.map(async ({ name }) => ({ name, seen: await watchLease({ control, runtime, pipeline: name }, io.signal) })),
    );
  });
  const now = runtime.monotonicMs();
  if (options.output === 'json') {
    printJson(io, 'LeaseList', { leases: leases.map(({ name, seen }) => leaseJson(name, seen, now)) });
    return 0;
  }
  printTable(
    io,
    ['LEASE', 'GENERATION', 'HOLDER', 'TTL', 'RENEWED', 'EXPIRES'],
    leases.map(({ name, seen }) => {
      if (seen === null) return [name, '-', '-', '-', '-', '-'];
      const { row } = seen;
      return [name, String(row.token), row.describedAs ?? row.holder ?? 'nobody', formatAge(row.ttlMs), ...agesInWords(seen, now)];
    }),
  );
  return 0;
}

/** One lease, with what else the control store knows of it. */
export async function describe(context: CommandContext): Promise<number> {
  const { io, options, parts } = context;
  const config = await loadedConfig(context);
  const { name } = onePipeline(config, options.pipeline);
  const { runtime } = parts;
  return await withControl(context, config, async (control) => {
    const seen = await watchLease({ control, runtime, pipeline: name }, io.signal);
    const checkpoint = await valueOf<CheckpointRow>(control, controlKeys.checkpoint(name), io.signal);
    const request = await valueOf<RequestRow>(control, controlKeys.stepDown(name), io.signal);
    const asked =
      seen !== null &&
      request?.state === 'pending' &&
      (request.args as StepDownArgs).generation === seen.row.token &&
      seen.row.holder !== null;
    const now = runtime.monotonicMs();
    if (options.output === 'json') {
      const more = { checkpointGeneration: checkpoint?.generation ?? null, epoch: checkpoint?.epoch ?? null, stepDownAsked: asked };
      printJson(io, 'Lease', { ...leaseJson(name, seen, now), ...more });
      return 0;
    }
    if (seen === null) {
      io.stderr(`nobody has ever held the lease of ${name}\n`);
      return 0;
    }
    const { row } = seen;
    const [renewed, expires] = agesInWords(seen, now);
    const facts: readonly (readonly [string, string])[] = [
      ['lease', name],
      ['holder', row.describedAs ?? row.holder ?? 'nobody'],
      ['name of the holder', row.holder ?? '-'],
      ['generation', String(row.token)],
      ['generation of the checkpoint', checkpoint === null ? '-' : String(checkpoint.generation)],
      ['epoch', checkpoint === null ? '-' : String(checkpoint.epoch)],
      ['ttl', formatAge(row.ttlMs)],
      ['renewals', String(row.renewals)],
      ['renewed', renewed],
      ['expires', expires],
      ['asked to step down', asked ? 'yes' : 'no'],
    ];
    for (const [what, value] of facts) io.stdout(`${what}: ${value}\n`);
    return 0;
  });
}

function leaseJson(lease: string, seen: WatchedLease | null, now: MonoMs): Readonly<Record<string, unknown>> {
  return { lease, row: seen?.row ?? null, age: seen === null ? null : ageOf(seen, now) };
}

/** When it was renewed, and when it expires. */
function agesInWords(seen: WatchedLease, now: MonoMs): readonly [string, string] {
  const age = ageOf(seen, now);
  if (age === null) return ['-', '-'];
  const renewed = age.renewedAgoMs === null ? `not for ${formatAge(age.stillForMs)}` : `${formatAge(age.renewedAgoMs)} ago`;
  return [renewed, `within ${formatAge(age.expiresWithinMs)}`];
}

const EPOCH_MAX = 2 ** 32 - 1;

/** Makes the next generation, or with `epoch` the epoch, greater than `above`, for a control store that was lost or restored. */
export async function raise(context: CommandContext, options: { readonly above: string; readonly epoch?: boolean }): Promise<number> {
  const { io } = context;
  const ofEpoch = options.epoch === true;
  const above = Number(options.above);
  if (!/^\d{1,15}$/.test(options.above) || (ofEpoch && (above < 1 || above >= EPOCH_MAX)))
    throw new CausewayError('usage', `--above ${options.above} is no number of ${ofEpoch ? 'an epoch' : 'a generation'}`);
  const config = await loadedConfig(context);
  const pipeline = onePipeline(config, context.options.pipeline);
  return await withControl(context, config, async (control) => {
    const holder = await livingHolder(
      {
        control,
        runtime: context.parts.runtime,
        pipeline: pipeline.name,
        onWait: (row) => io.stderr(`looking for up to ${formatAge(row.ttlMs)} whether the holder still runs\n`),
      },
      io.signal,
    );
    if (holder !== null)
      throw new CausewayError('refused', `the daemon ${holder} holds the lease of ${pipeline.name}: stop it first; nothing was changed`);
    const raised = ofEpoch
      ? (await raiseEpoch(control, { pipeline: pipeline.name, above }, io.signal)) !== null
      : await raiseGeneration(control, { pipeline, above }, io.signal);
    const what = ofEpoch ? 'epoch' : 'generation';
    if (!raised) io.stderr(`nothing to do: the ${what} is ${ofEpoch ? 'above' : 'at or above'} ${above} already\n`);
    else if (ofEpoch)
      io.stderr(`the epoch of ${pipeline.name} is ${above + 1}, and each of its tables has to be loaded again: docs/resync.md\n`);
    else io.stderr(`the next generation of ${pipeline.name} is ${above + 1}\n`);
    if (context.options.output === 'json') printJson(io, 'Lease', { lease: pipeline.name, what, raised, above });
    return 0;
  });
}

async function raiseGeneration(
  control: ControlStore,
  of: { readonly pipeline: PipelineConfig; readonly above: number },
  signal: AbortSignal,
): Promise<boolean> {
  const above = fencingTokenOf(of.above);
  const { name, leaseTtlMs } = of.pipeline;
  const change = (now: LeaseRow | null): LeaseRow | null =>
    now !== null && now.token >= above
      ? null
      : { ...now, token: above, holder: null, describedAs: null, ttlMs: now?.ttlMs ?? leaseTtlMs, renewals: 0 };
  return (await changeRow<LeaseRow>(control, { key: controlKeys.lease(name), change }, signal)) !== null;
}
