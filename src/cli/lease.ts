import { controlKeys, type LeaseRow } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import { fencingTokenOf } from '#core/position.ts';
import { loadedConfig, onePipeline, pipelinesOf, withControl, type CommandContext } from './context.ts';
import { formatAge, printJson, printTable } from './io.ts';
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

/** Makes the next generation greater than `above`, for a control store that was lost or restored. */
export async function raise(context: CommandContext, options: { readonly above: string }): Promise<number> {
  const { io } = context;
  if (!/^\d{1,15}$/.test(options.above)) throw new CausewayError('usage', `--above ${options.above} is not a whole number`);
  const above = fencingTokenOf(Number(options.above));
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
    const row = await changeRow<LeaseRow>(
      control,
      {
        key: controlKeys.lease(pipeline.name),
        change: (now) =>
          now !== null && now.token >= above
            ? null
            : { token: above, holder: null, describedAs: null, ttlMs: now?.ttlMs ?? pipeline.leaseTtlMs, renewals: 0 },
      },
      io.signal,
    );
    io.stderr(
      row === null
        ? `nothing to do: the generation is at or above ${above} already\n`
        : `the next generation of ${pipeline.name} is ${above + 1}\n`,
    );
    if (context.options.output === 'json') printJson(io, 'Lease', { lease: pipeline.name, raised: row !== null, above });
    return 0;
  });
}
