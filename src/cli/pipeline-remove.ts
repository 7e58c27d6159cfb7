import { controlKeys, type LeaseRow, type SinkRow } from '#core/control-rows.ts';
import type { ControlKey, ControlStore } from '#core/control.ts';
import { CausewayError, codeOf } from '#core/errors.ts';
import type { ReconcileRow } from '#core/reconcile-row.ts';
import type { LoadRow } from '#core/load-row.ts';
import type { SourceFacts } from '#core/source.ts';
import type { PipelineConfig } from '../config/config.ts';
import { acquireLease } from '../lease/acquire.ts';
import type { Lease } from '../lease/lease.ts';
import { describeProcess } from '../runtime/daemon.ts';
import { loadedConfig, onePipeline, withControl, withLog, withSink, withSource, type CommandContext } from './context.ts';
import { formatAge, printJson } from './io.ts';
import { daemonLives, livingHolder, valueOf } from './rows.ts';

export type RemoveOptions = {
  readonly sink?: string;
  readonly confirm?: string;
  /** More owners whose claims on a sink are given up, beside the one that the control store knows: for one that was lost. */
  readonly owners?: readonly string[];
  /** Drops what answers, although something does not. */
  readonly leaveUnreachable?: boolean;
};

type Step = { readonly what: string; readonly drop: () => Promise<readonly string[]> };

/** Drops what Causeway made for a pipeline, or for one of its sinks. A replicated table is never among it. */
export async function remove(context: CommandContext, options: RemoveOptions): Promise<number> {
  const { io } = context;
  const config = await loadedConfig(context);
  const pipeline = onePipeline(config, context.options.pipeline);
  return await withControl(context, config, async (control) => {
    const { steps, rows } = plan(context, { control, pipeline, options });
    if (options.confirm === undefined) {
      io.stderr(`would be dropped:\n`);
      for (const { what } of steps) io.stdout(`${what}\n`);
      for (const key of await rows()) io.stdout(`control row ${key}\n`);
      io.stderr(
        `no replicated table is touched. To do it: causeway pipeline remove -p ${pipeline.name}${options.sink === undefined ? '' : ` --sink ${options.sink}`} --confirm ${pipeline.name}\n`,
      );
      return 0;
    }
    if (options.confirm !== pipeline.name) {
      throw new CausewayError('refused', `--confirm ${options.confirm} is not the pipeline's name, ${pipeline.name}`);
    }
    const lease = await holdLease(context, control, pipeline);
    let outcome: { readonly code: number; readonly gone: boolean };
    try {
      if (options.sink === undefined) await refuseSlotOfAnother(context, control, pipeline);
      outcome = await execute(context, { control, steps, rows, options });
    } finally {
      await lease.release(io.signal);
    }
    // Only with the log itself may the generations start anew.
    if (outcome.gone && options.sink === undefined) await dropLease(control, pipeline, io.signal);
    return outcome.code;
  });
}

function plan(
  context: CommandContext,
  input: { readonly control: ControlStore; readonly pipeline: PipelineConfig; readonly options: RemoveOptions },
): { readonly steps: readonly Step[]; readonly rows: () => Promise<readonly ControlKey[]> } {
  const { control, pipeline } = input;
  const { sink, owners = [] } = input.options;
  const { signal } = context.io;
  const configured = pipeline.sinks.filter(({ name }) => sink === undefined || name === sink);
  const sinkSteps = configured.map((one): Step => ({
    what: `sink ${one.name} (${one.kind}): progress, fences and sequences kept beside the replicated tables`,
    drop: async () => {
      const partitions = await withLog(context, pipeline, (log) => Promise.resolve(log.partitions));
      const row = await valueOf<SinkRow>(control, controlKeys.sink(pipeline.name, one.name), signal);
      const claimants = row === null ? owners : [row.owner, ...owners];
      try {
        return await withSink(context, { pipeline, sink: one, partitions }, (built) => built.remove(claimants, signal));
      } catch (error) {
        // What this deployment's control store does not call its own is another's. A store that was lost cannot tell.
        const isLost = row === null && (await control.get(controlKeys.checkpoint(pipeline.name), signal)) === null;
        if (isLost || codeOf(error) !== 'sink_claimed') throw error;
        context.io.stderr(`sink ${one.name}: left as it is: ${(error as CausewayError).message}\n`);
        return [];
      }
    },
  }));
  const logStep: Step = {
    what:
      sink === undefined
        ? `log (${pipeline.log.kind}): every record, dead letters too`
        : `log (${pipeline.log.kind}): what it keeps for ${sink}`,
    drop: () => withLog(context, pipeline, (log) => log.remove(sink ?? null, signal)),
  };
  if (sink !== undefined) {
    return { steps: [...sinkSteps, logStep], rows: () => rowsOfSink(control, { pipeline: pipeline.name, sink }, signal) };
  }
  const sourceStep: Step = {
    what: `source (${pipeline.source.kind}): replication slot, publication and what was written there`,
    drop: () => withSource(context, pipeline, (source) => source.deprovision(signal)),
  };
  // The sinks come first: where one is somebody else's, so may be the slot, and nothing says that its reader runs just now.
  return { steps: [...sinkSteps, sourceStep, logStep], rows: () => rowsOf(control, pipeline, signal) };
}

/** Its loads too: one that a later sink with the name found would be of this one. */
async function rowsOfSink(
  control: ControlStore,
  of: { readonly pipeline: string; readonly sink: string },
  signal: AbortSignal,
): Promise<readonly ControlKey[]> {
  const loads = await control.list(controlKeys.loads(of.pipeline), signal);
  const own = loads.filter(({ value }) => (value as LoadRow).sink === of.sink);
  const runs = (await control.list(controlKeys.reconciles(of.pipeline), signal)).filter(
    ({ value }) => (value as ReconcileRow).sink === of.sink,
  );
  const repairs = await control.list(controlKeys.repairs(of.pipeline, of.sink), signal);
  return [controlKeys.sink(of.pipeline, of.sink), ...[...own, ...runs, ...repairs].map(({ key }) => key)];
}

/** Everything of the pipeline but the lease, which protects the removal itself. */
async function rowsOf(control: ControlStore, { name }: PipelineConfig, signal: AbortSignal): Promise<readonly ControlKey[]> {
  const prefixes = [
    controlKeys.tables(name),
    controlKeys.loads(name),
    controlKeys.reconciles(name),
    controlKeys.reconcileLeases(name),
    controlKeys.sinks(name),
    controlKeys.requests(name),
    controlKeys.workers(name),
  ];
  const listed = await Promise.all(prefixes.map((prefix) => control.list(prefix, signal)));
  const single = [controlKeys.checkpoint(name), controlKeys.epoch(name), controlKeys.desired(name), controlKeys.status(name)];
  const present = await Promise.all(single.map((key) => control.get(key, signal)));
  return [...listed.flat(), ...present.filter((row) => row !== null)].map(({ key }) => key);
}

/** `gone`: the control rows were dropped with the rest, or with what answered. */
async function execute(
  { io, options: { output } }: CommandContext,
  input: {
    readonly control: ControlStore;
    readonly steps: readonly Step[];
    readonly rows: () => Promise<readonly ControlKey[]>;
    readonly options: RemoveOptions;
  },
): Promise<{ readonly code: number; readonly gone: boolean }> {
  const dropped: string[] = [];
  const failed: { readonly what: string; readonly code: string; readonly message: string }[] = [];
  for (const { what, drop } of input.steps) {
    try {
      dropped.push(...(await drop()));
    } catch (error) {
      if (!(error instanceof CausewayError)) throw error;
      failed.push({ what, code: codeOf(error), message: error.message });
      io.stderr(`${what}: ${error.code}: ${error.message}\n`);
      if (error.code === 'sink_claimed') break;
    }
  }
  const isClaimed = failed.some(({ code }) => code === 'sink_claimed');
  if (isClaimed) io.stderr('nothing of the source or the log was dropped\n');
  const gone = failed.length === 0 || (input.options.leaveUnreachable === true && !isClaimed);
  if (gone) {
    for (const key of await input.rows()) {
      const row = await input.control.get(key, io.signal);
      if (row !== null) await input.control.remove(key, row.version, io.signal);
      dropped.push(`control row ${key}`);
    }
  } else {
    io.stderr('the control rows stay, so that this can be repeated; `--leave-unreachable` gives up what does not answer\n');
  }
  if (output === 'json') printJson(io, 'Removed', { dropped, failed });
  else for (const line of dropped) io.stdout(`dropped ${line}\n`);
  return { code: failed.length === 0 ? 0 : 8, gone };
}

/** Refuses while a daemon captures, and keeps one from starting half-way. */
export async function holdLease(context: CommandContext, control: ControlStore, pipeline: PipelineConfig): Promise<Lease> {
  const { io, parts } = context;
  const holder = await livingHolder(
    {
      control,
      runtime: parts.runtime,
      pipeline: pipeline.name,
      onWait: (row) =>
        io.stderr(`looking for up to ${formatAge(row.ttlMs)} whether ${row.describedAs ?? 'the holder of the lease'} still runs\n`),
    },
    io.signal,
  );
  if (holder !== null) {
    throw new CausewayError('refused', `the daemon ${holder} holds the lease of ${pipeline.name}: stop it first; nothing was changed`);
  }
  if (await daemonLives({ control, runtime: parts.runtime, pipeline: pipeline.name }, io.signal)) {
    throw new CausewayError('refused', `a daemon serves ${pipeline.name} and would make it anew: stop it first; nothing was changed`);
  }
  const dead = await valueOf<LeaseRow>(control, controlKeys.lease(pipeline.name), io.signal);
  return await acquireLease(
    {
      control,
      runtime: parts.runtime,
      key: controlKeys.lease(pipeline.name),
      describedAs: `${describeProcess()} (pipeline remove)`,
      ttlMs: pipeline.leaseTtlMs,
      formerHolder: dead?.holder ?? null,
    },
    io.signal,
  );
}

/**
 * Of a slot without a checkpoint the control store does not know whose it is. One that a connection holds belongs to a deployment
 * that runs, and to drop it would cost that one every table. A source that does not answer is for the removal itself to tell of.
 */
export async function refuseSlotOfAnother(context: CommandContext, control: ControlStore, pipeline: PipelineConfig): Promise<void> {
  const { signal } = context.io;
  if ((await control.get(controlKeys.checkpoint(pipeline.name), signal)) !== null) return;
  let slot: SourceFacts['slot'];
  try {
    slot = await withSource(context, pipeline, async (source) => (await source.inspect(signal)).slot);
  } catch (error) {
    if (!(error instanceof CausewayError)) throw error;
    return;
  }
  if (slot?.active !== true) return;
  throw new CausewayError(
    'refused',
    `a connection holds the slot ${slot.name}, and this control store did not make it: another deployment captures with it. ` +
      'Give this pipeline a name of its own, or stop that deployment if it is to be replaced; nothing was changed',
  );
}

async function dropLease(control: ControlStore, { name }: PipelineConfig, signal: AbortSignal): Promise<void> {
  const key = controlKeys.lease(name);
  const row = await control.get(key, signal);
  if (row !== null) await control.remove(key, row.version, signal);
}
