import { CausewayError } from '#core/errors.ts';
import { loadedConfig, onePipeline, pipelinesOf, withControl, withSource, type CommandContext } from './context.ts';
import { formatBytes, printJson, printTable } from './io.ts';
import { holdLease, refuseSlotOfAnother } from './pipeline-remove.ts';

export async function list(context: CommandContext): Promise<number> {
  const { io, options } = context;
  const config = await loadedConfig(context);
  const rows = [];
  for (const pipeline of pipelinesOf(config, options.pipeline)) {
    const { slot } = await withSource(context, pipeline, (source) => source.inspect(io.signal));
    rows.push({ pipeline: pipeline.name, slot });
  }
  if (options.output === 'json') {
    printJson(io, 'SlotList', { slots: rows });
    return 0;
  }
  printTable(
    io,
    ['PIPELINE', 'SLOT', 'ACTIVE', 'POSITION', 'KEPT', 'BACKLOG', 'HEADROOM', 'STATUS'],
    rows.map(({ pipeline, slot }) =>
      slot === null
        ? [pipeline, '-', '-', '-', '-', '-', '-', 'none']
        : [
            pipeline,
            slot.name,
            slot.active ? 'yes' : 'no',
            slot.position,
            formatBytes(slot.retainedBytes),
            formatBytes(slot.backlogBytes),
            slot.headroomBytes === null ? 'unlimited' : formatBytes(slot.headroomBytes),
            slot.unusable ?? slot.walStatus ?? 'usable',
          ],
    ),
  );
  return 0;
}

/** Gives up what the source keeps for the pipeline. Its tables have to be loaded again afterwards. */
export async function drop(context: CommandContext, options: { readonly confirm?: string }): Promise<number> {
  const { io } = context;
  const config = await loadedConfig(context);
  const pipeline = onePipeline(config, context.options.pipeline);
  return await withSource(context, pipeline, async (source) => {
    const { slot } = await source.inspect(io.signal);
    if (slot === null) throw new CausewayError('refused', `the source has no slot of the pipeline ${pipeline.name}`);
    if (options.confirm !== slot.name) {
      throw new CausewayError(
        'refused',
        `dropping the slot ${slot.name} means that every table must be loaded again; confirm it with --confirm ${slot.name}`,
      );
    }
    return await withControl(context, config, async (control) => {
      const lease = await holdLease(context, control, pipeline);
      try {
        await refuseSlotOfAnother(context, control, pipeline);
        const dropped = await source.deprovision(io.signal);
        if (context.options.output === 'json') printJson(io, 'Removed', { dropped, failed: [] });
        else for (const line of dropped) io.stdout(`dropped ${line}\n`);
        return 0;
      } finally {
        await lease.release(io.signal);
      }
    });
  });
}
