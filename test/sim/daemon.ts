import { codeOf } from '#core/errors.ts';
import type { Logger, Runtime } from '#core/runtime.ts';
import { applyDefaults, runApply } from '../../src/apply/apply.ts';
import { silentObserver as silentApply, type ApplyStatus } from '../../src/apply/observer.ts';
import { runCapture } from '../../src/capture/capture.ts';
import { defaultCaptureOptions } from '../../src/capture/deps.ts';
import { silentObserver as silentCapture } from '../../src/capture/observer.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import type { Loop, StopSignals } from '../../src/runtime/policy.ts';
import { supervise } from '../../src/runtime/supervisor.ts';
import { runUnit } from '../../src/runtime/unit.ts';
import { Wanted } from '../../src/runtime/wanted.ts';
import type { ControlStore } from '#core/control.ts';
import type { Log } from '#core/log.ts';
import type { Sink } from '#core/sink.ts';
import type { Source } from '#core/source.ts';
import { nothing, type Life } from './life.ts';
import type { Plan } from './plan.ts';

export const PIPELINE = 'orders';

/** Shorter than the product's own, in proportion, so that a run needs less of the clock. */
export const captureOptions = {
  ...defaultCaptureOptions,
  leaseTtlMs: 3_000,
  checkpointIntervalMs: 250,
  watermarkIntervalMs: 300,
  idleWatermarkIntervalMs: 1_000,
  heartbeatIntervalMs: 1_000,
  fingerprintIntervalMs: 2_500,
  largeTransactionChanges: 50,
  reconnectFirstMs: 50,
  reconnectMaxMs: 1_000,
};

const applyOptions = {
  ...applyDefaults,
  idleSaveMs: 250,
  backoffFirstMs: 50,
  backoffMaxMs: 1_000,
  controlPollMs: 700,
  sweepPollMs: 300,
  fencedIdleMs: 2_000,
  sharedIdleMs: 600,
};

/** Why a loop of the process does not run, by its name; absent while it does. */
export type Troubles = Map<string, string>;

/** What the world knows of a running process. */
export type Process = {
  readonly life: Life;
  /** As each sink's loop reports it; absent while it has not begun. */
  readonly statuses: ReadonlyMap<string, () => ApplyStatus>;
  readonly troubles: Troubles;
  /** Asks it to stop. */
  readonly stop: () => void;
};

export type ProcessParts = {
  readonly plan: Plan;
  readonly life: Life;
  readonly runtime: Runtime;
  readonly logger: Logger;
  readonly control: ControlStore;
  readonly source: Source;
  readonly log: Log;
  readonly sinks: ReadonlyMap<string, Sink>;
  readonly parkedKeysMax: number;
  /** An error without a code is a defect. */
  readonly onDefect: (error: unknown, where: string) => void;
  readonly onQueue: (bytes: number, bytesMax: number) => void;
  readonly onTrouble: (code: string) => void;
  readonly onExit: (code: number) => void;
};

function captureOptionsOf({ limits, loads }: Plan): typeof captureOptions {
  const options = { ...captureOptions, pendingBytesMax: limits.pendingBytesMax };
  if (loads === undefined) return options;
  const { chunk, shownMax, loadsAtOnce } = loads;
  return { ...options, chunk, shownMax, loadsAtOnce, loadPollMs: 250, visibilityIntervalMs: 200 };
}

/** Starts a process: the product's own loops under its own policies, as src/runtime/pipeline.ts joins them, without metrics and pages. */
export function startProcess(parts: ProcessParts): Process {
  const { plan, life, runtime, logger, log, control } = parts;
  const describedAs = `daemon-${life.daemon}:${life.id}`;
  const statuses = new Map<string, () => ApplyStatus>();
  const troubles: Troubles = new Map();
  const captureWanted = new Wanted(true);
  const leading = new Wanted(plan.applyEverywhere);
  const watched =
    (name: string, loop: Loop): Loop =>
    async (signals) => {
      try {
        await loop(signals);
      } catch (error) {
        if (codeOf(error) === 'internal' && !signals.stop.aborted && !signals.kill.aborted) parts.onDefect(error, name);
        throw error;
      }
    };

  const capture: Loop = (signals) =>
    runCapture(
      {
        pipeline: PIPELINE,
        describedAs,
        source: parts.source,
        log,
        control,
        codec: jsonCodec,
        runtime,
        logger,
        observer: {
          ...silentCapture,
          state: (state) => {
            if (state.tag === 'streaming') troubles.delete('capture');
          },
          lease: (facts) => {
            if (plan.applyEverywhere) return;
            if (facts.held) leading.set(true);
            else if (facts.holder !== null && facts.holder !== describedAs) leading.set(false);
          },
          queue: parts.onQueue,
        },
        sinks: plan.sinks,
        snapshotNever: () => false,
        options: captureOptionsOf(plan),
      },
      signals,
    );

  const applyTo =
    (name: string, sink: Sink): Loop =>
    (signals) =>
      runApply(
        {
          pipeline: PIPELINE,
          sinkName: name,
          snapshotNever: () => false,
          sink,
          log,
          control,
          codec: jsonCodec,
          runtime,
          logger,
          observer: {
            ...silentApply,
            attach: (status) => {
              troubles.delete(name);
              statuses.set(name, status);
            },
          },
          options: { ...applyOptions, readAheadBytesMax: plan.limits.readAheadBytesMax, parkedKeysMax: parts.parkedKeysMax },
        },
        signals,
      );

  const unit = (name: string, loop: Loop, wanted: Wanted, signals: StopSignals): Promise<void> =>
    runUnit(
      watched(name, loop),
      {
        runtime,
        logger,
        wanted,
        onRunning: (running) => {
          if (!running) statuses.delete(name);
        },
        onTrouble: (error) => {
          statuses.delete(name);
          troubles.set(name, codeOf(error));
          parts.onTrouble(codeOf(error));
        },
      },
      signals,
    );

  const asked = Promise.withResolvers<string>();
  // One request: a second would not wait for what is in hand.
  let requests = 0;
  const run = async (signals: StopSignals): Promise<void> => {
    await Promise.all([
      unit('capture', capture, captureWanted, signals),
      ...[...parts.sinks].map(([name, sink]) => unit(name, applyTo(name, sink), leading, signals)),
    ]);
  };
  supervise([{ name: PIPELINE, run }], {
    runtime,
    logger,
    requests: { next: () => (requests++ === 0 ? asked.promise : nothing()) },
    graceMs: 2_000,
    onStopping: () => undefined,
  }).then(
    (code) => {
      if (!life.dead) parts.onExit(code);
    },
    (error: unknown) => parts.onDefect(error, 'supervisor'),
  );
  return { life, statuses, troubles, stop: () => asked.resolve('SIGTERM') };
}
