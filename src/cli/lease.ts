import { controlKeys, type LeaseRow } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import { fencingTokenOf } from '#core/position.ts';
import type { ControlStore } from '#core/control.ts';
import type { PipelineConfig } from '../config/config.ts';
import { loadedConfig, onePipeline, pipelinesOf, withControl, type CommandContext } from './context.ts';
import { formatAge, printJson, printTable } from './io.ts';
import { raiseEpoch } from './raise-epoch.ts';
import { changeRow, livingHolder, valueOf } from './rows.ts';

export async function list(context: CommandContext): Promise<number> {
  const { io, options } = context;
  const config = await loadedConfig(context);
  const rows = await withControl(context, config, (control) =>
    Promise.all(
      pipelinesOf(config, options.pipeline).map(async ({ name }) => ({
        lease: name,
        row: await valueOf<LeaseRow>(control, controlKeys.lease(name), io.signal),
      })),
    ),
  );
  if (options.output === 'json') printJson(io, 'LeaseList', { leases: rows });
  else {
    printTable(
      io,
      ['LEASE', 'GENERATION', 'HOLDER', 'TTL'],
      rows.map(({ lease, row }) =>
        row === null ? [lease, '-', '-', '-'] : [lease, String(row.token), row.describedAs ?? row.holder ?? 'nobody', formatAge(row.ttlMs)],
      ),
    );
  }
  return 0;
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
      : { token: above, holder: null, describedAs: null, ttlMs: now?.ttlMs ?? leaseTtlMs, renewals: 0 };
  return (await changeRow<LeaseRow>(control, { key: controlKeys.lease(name), change }, signal)) !== null;
}
