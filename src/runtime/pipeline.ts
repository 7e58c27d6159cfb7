import { present } from '#core/assert.ts';
import type { DesiredRow } from '#core/control-rows.ts';
import type { Codec } from '#core/codec.ts';
import type { ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import type { Log } from '#core/log.ts';
import { type Logger, type Runtime, untilBeatMs } from '#core/runtime.ts';
import type { TableId } from '#core/schema.ts';
import type { Sink } from '#core/sink.ts';
import type { Source } from '#core/source.ts';
import { runApply } from '../apply/apply.ts';
import { applyDefaults } from '../apply/deps.ts';
import type { ApplyState } from '../apply/observer.ts';
import { runCapture } from '../capture/capture.ts';
import { defaultCaptureOptions } from '../capture/deps.ts';
import type { PipelineConfig } from '../config/config.ts';
import { selectionFor } from '../config/tables.ts';
import type { PipelineStatus } from '../http/status-document.ts';
import type { Metrics } from '../metrics/registry.ts';
import { isAborted } from './aborted.ts';
import { observeApply } from './apply-view.ts';
import { heldByAnother, observeCapture } from './capture-view.ts';
import { refuseSharedDatabase } from './control-apart.ts';
import { followDesired, nothingPaused } from './desired.ts';
import { followReconciles } from './reconcile-view.ts';
import { ConsumerWindow } from './consumer-state.ts';
import { errorFields } from './logger.ts';
import { pipelineGauges } from './pipeline-gauges.ts';
import { refuseOwnWrites } from './own-writes.ts';
import type { PipelineState, Role, SinkUnit } from './pipeline-state.ts';
import { pipelineStatus } from './pipeline-status.ts';
import { keepRunning, type Loop, type StopSignals } from './policy.ts';
import { SeenEnds } from './seen-ends.ts';
import { StatusWriter } from './status-row.ts';
import { followStepDown } from './step-down.ts';
import { sinkAlone } from './sink-alone.ts';
import { SourceTime } from './source-time.ts';
import { Transit } from './transit.ts';
import { TroubleCell } from './trouble.ts';
import { runUnit } from './unit.ts';
import { Wanted } from './wanted.ts';
import { followWorkers } from './workers.ts';

export type PipelineDeps = {
  readonly config: PipelineConfig;
  readonly roles: readonly Role[];
  /** Host and process id, which tell this process from every other one. */
  readonly describedAs: string;
  readonly codec: Codec;
  readonly runtime: Runtime;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Makes the parts; called again where it failed. What it made is disposed of when the pipeline ends. */
  readonly build: (resources: AsyncDisposableStack) => Promise<PipelineParts>;
};

export type PipelineParts = {
  readonly control: ControlStore;
  readonly source: Source;
  readonly log: Log;
  /** Each opens its sink, or gives the one that is open: what keeps one from being opened is a state of that sink alone. */
  readonly sinks: ReadonlyMap<string, () => Promise<Sink>>;
};

export interface Pipeline {
  readonly name: string;
  run(signals: StopSignals): Promise<void>;
  status(): PipelineStatus;
  /** True once its loops were started, as a standby too. */
  readonly started: boolean;
}

/** States of a sink that has come past its start. */
const WORKING: ReadonlySet<ApplyState> = new Set(['running', 'retrying', 'blocked']);

const STATUS_MS = 2_000;
/** Until the lease was looked at for the first time, so that a daemon that was just started is seen soon. */
const STATUS_FIRST_MS = 200;

/** Runs capture and apply of one pipeline under the policies, as the operator wants it. */
export function createPipeline(deps: PipelineDeps): Pipeline {
  const { config, runtime, metrics } = deps;
  const logger = deps.logger.with({ pipeline: config.name });
  const time = new SourceTime(runtime);
  const transit = new Transit(runtime);
  // Where a log shares the partitions out, every process takes some. Otherwise, with capture in this process, sinks are served by
  // the process that captures: a standby's would only take the partitions away.
  let shared = false;
  const everywhere = (): boolean => shared || !deps.roles.includes('capture');
  const leading = new Wanted(everywhere());
  const captureWanted = new Wanted(false);
  const captureTrouble = new TroubleCell(runtime);
  const { view, observer } = observeCapture({
    pipeline: config.name,
    describedAs: deps.describedAs,
    metrics,
    logger,
    runtime,
    time,
    transit,
    onChange: ({ state: now, lease }) => {
      const other = heldByAnother(lease, deps.describedAs);
      // Capture passes through its first states at every attempt; only here has it got over what kept it.
      if (now?.tag === 'streaming' || other) captureTrouble.clear();
      if (lease?.held === true) leading.set(true);
      // Whoever stands aside applies until its lease is released: what capture still has in hand may need the room in the log.
      else if (other || state.aside) leading.set(everywhere());
      follow();
    },
  });
  const applyObservers = new Map(
    config.sinks.map((sink) => {
      const sinkLogger = logger.with({ sink: sink.name });
      return [sink.name, observeApply({ pipeline: config.name, sink: sink.name, metrics, logger: sinkLogger, runtime, time, transit })];
    }),
  );
  const sinks = config.sinks.map((sink): SinkUnit => {
    const applyView = applyObservers.get(sink.name)?.view ?? { status: null, waiting: () => null };
    return {
      config: sink,
      view: applyView,
      trouble: new TroubleCell(runtime),
      wanted: new Wanted(false),
      consumer: new ConsumerWindow(),
      running: false,
    };
  });
  const state: PipelineState = {
    config,
    roles: deps.roles,
    time,
    capture: view,
    trouble: captureTrouble,
    logFull: new TroubleCell(runtime),
    sinks,
    desired: nothingPaused,
    reconciles: [],
    logUsage: null,
    logEnds: null,
    logSeenAtWallMs: runtime.wallMs(),
    aside: false,
    ended: false,
  };
  let desiredKnown = false;
  let started = false;
  const follow = (): void => {
    if (!desiredKnown) return;
    const { paused, pausedSinks } = state.desired;
    captureWanted.set(deps.roles.includes('capture') && !paused && !state.aside);
    for (const sink of sinks) {
      sink.wanted.set(deps.roles.includes('apply') && leading.on && !paused && !pausedSinks.includes(sink.config.name));
    }
  };
  const onAside = (aside: boolean): void => {
    state.aside = aside;
    follow();
  };
  const onDesired = (desired: DesiredRow): void => {
    if (desired.paused !== state.desired.paused) logger.log('info', desired.paused ? 'paused by the operator' : 'resumed by the operator');
    state.desired = desired;
    if (!desiredKnown) captureTrouble.clear();
    desiredKnown = true;
    follow();
  };

  const snapshotNever = (table: TableId): boolean => selectionFor(config.tables, table)?.snapshot === 'never';
  const captureLoop =
    ({ control, source, log }: PipelineParts): Loop =>
    async (signals) => {
      await refuseSharedDatabase({ control, other: source, what: 'the source' }, AbortSignal.any([signals.stop, signals.kill]));
      await runCapture(
        {
          pipeline: config.name,
          describedAs: deps.describedAs,
          source,
          log,
          control,
          codec: deps.codec,
          runtime,
          logger,
          observer,
          sinks: config.sinks.map(({ name }) => name),
          snapshotNever,
          options: { ...defaultCaptureOptions, leaseTtlMs: config.leaseTtlMs },
        },
        signals,
      );
    };
  const applyLoop =
    (unit: SinkUnit, { control, source, log, sinks: built }: PipelineParts): Loop =>
    async (signals) => {
      const found = present(applyObservers.get(unit.config.name), 'the observer of a sink');
      const sink = await present(built.get(unit.config.name), 'a configured sink')();
      const ending = AbortSignal.any([signals.stop, signals.kill]);
      await refuseSharedDatabase({ control, other: sink, what: `the sink ${unit.config.name}` }, ending);
      await refuseOwnWrites({ source, sink, sinkName: unit.config.name, tables: config.tables }, ending);
      // Every attempt starts; only one that runs has got over what kept the last one.
      const attach: typeof found.observer.attach = (status) => {
        found.observer.attach(() => {
          const now = status();
          if (WORKING.has(now.state)) unit.trouble.clear();
          return now;
        });
      };
      await runApply(
        {
          pipeline: config.name,
          sinkName: unit.config.name,
          snapshotNever,
          sink,
          log,
          control,
          codec: deps.codec,
          runtime,
          logger: logger.with({ sink: unit.config.name }),
          observer: { ...found.observer, attach },
          options: { ...applyDefaults, parkedKeysMax: unit.config.parkedKeysMax },
        },
        signals,
      );
    };

  const runUnits = async (parts: PipelineParts, signals: StopSignals): Promise<void> => {
    started = true;
    captureTrouble.clear();
    shared = parts.log.sharesPartitions;
    if (shared) leading.set(true);
    follow();
    const ending = AbortSignal.any([signals.stop, signals.kill]);
    const captureUnit = runUnit(
      captureLoop(parts),
      { runtime, logger, wanted: captureWanted, onRunning: () => undefined, onTrouble: (error) => captureTrouble.set(error) },
      signals,
    );
    const sinkUnits = sinks.map((unit) =>
      runUnit(
        sinkAlone(unit.config.name, applyLoop(unit, parts)),
        {
          runtime,
          logger: logger.with({ sink: unit.config.name }),
          wanted: unit.wanted,
          onRunning: (running) => {
            unit.running = running;
            if (!running) unit.trouble.clear();
          },
          onTrouble: (error) => {
            unit.trouble.set(error);
            applyObservers.get(unit.config.name)?.failed(error);
          },
        },
        signals,
      ),
    );
    // Nothing starts before it is known what is paused, so until then this is what keeps the pipeline.
    const onTrouble = (error: unknown): void => {
      if (!desiredKnown) captureTrouble.set(error);
    };
    const desired = followDesired({ pipeline: config.name, control: parts.control, runtime, logger, onDesired, onTrouble }, ending);
    const stepDown = followStepDown(
      { pipeline: config.name, control: parts.control, runtime, logger, lease: () => state.capture.lease, onAside },
      ending,
    );
    const workers = {
      pipeline: config.name,
      describedAs: deps.describedAs,
      control: parts.control,
      runtime,
      logger,
      captures: () => state.capture.lease?.held === true,
      sinks: () => pipelineStatus(state, runtime.wallMs()).sinks,
    };
    const reconciles = followReconciles({ ...workers, onRuns: (runs) => void (state.reconciles = runs) }, ending);
    const applied = shared ? followWorkers(workers, ending) : null;
    const usage = watchStatus(deps, state, parts, ending);
    const retained = nameConsumers(parts.log, config, ending);
    await Promise.all([captureUnit, ...sinkUnits, desired, stepDown, usage, applied, retained, reconciles]);
  };

  return {
    name: config.name,
    get started() {
      return started;
    },
    status: () => pipelineStatus(state, runtime.wallMs()),
    run: async (signals) => {
      const removeGauges = metrics.addGauges((set) => pipelineGauges(state, set));
      try {
        await keepRunning(
          async (inner) => {
            await using resources = new AsyncDisposableStack();
            const parts = await deps.build(resources);
            await runUnits(parts, inner);
          },
          { runtime, logger, onTrouble: (error) => captureTrouble.set(error) },
          signals,
        );
      } finally {
        state.ended = true;
        removeGauges();
      }
    },
  };
}

/** Without this nothing in the log would ever be freed. What else is wrong with the log is told by the loops that use it. */
async function nameConsumers(log: Log, config: PipelineConfig, signal: AbortSignal): Promise<void> {
  try {
    await log.retain(
      config.sinks.map(({ name }) => name),
      signal,
    );
  } catch (error) {
    if (!isAborted(signal) && !(error instanceof CausewayError)) throw error;
  }
}

/** Writes what this process knows for commands that run beside it, and looks at the log's size. */
async function watchStatus(deps: PipelineDeps, state: PipelineState, { control, log }: PipelineParts, signal: AbortSignal): Promise<void> {
  const { runtime } = deps;
  const row = new StatusWriter({ control, pipeline: state.config.name });
  let failed = false;
  const ends = new SeenEnds();
  while (!isAborted(signal)) {
    try {
      state.logUsage = await seen(() => log.usage(signal), signal);
      const running = state.sinks.filter((sink) => sink.running);
      const partitions = running.flatMap(({ view }) => view.status?.().partitions ?? []);
      const looked = { partitions, ends: () => seen(() => log.ends(signal), signal) };
      state.logEnds = running.length > 0 ? await ends.look(log, looked) : null;
      state.logSeenAtWallMs = runtime.wallMs();
      for (const { consumer, view } of state.sinks) consumer.take(view.status?.().partitions ?? [], state.logEnds);
      if (state.logUsage?.stalled !== true) state.logFull.clear();
      else state.logFull.set(new CausewayError('log_full', 'the log has no room for what capture has read'));
      // The process that captures knows; where nobody does, whoever could not.
      if (state.capture.lease !== null && !heldByAnother(state.capture.lease, deps.describedAs)) {
        await row.write({ writtenAtWallMs: runtime.wallMs(), document: pipelineStatus(state, runtime.wallMs()) }, signal);
      }
      failed = false;
    } catch (error) {
      if (isAborted(signal)) return;
      if (!failed) deps.logger.log('warn', 'the status could not be written', { pipeline: state.config.name, ...errorFields(error) });
      failed = true;
    }
    try {
      const periodMs = state.capture.lease === null ? STATUS_FIRST_MS : STATUS_MS;
      await runtime.sleep(untilBeatMs(periodMs, runtime.monotonicMs()), signal);
    } catch (error) {
      if (!isAborted(signal)) throw error;
    }
  }
}

/** Null where the log cannot be looked at; what that means is told by the loops that use it. */
async function seen<T>(look: () => Promise<T>, signal: AbortSignal): Promise<T | null> {
  try {
    return await look();
  } catch (error) {
    if (isAborted(signal) || !(error instanceof CausewayError)) throw error;
    return null;
  }
}
