import type { ChunkLimits } from '../chunk/size.ts';
import type { Codec } from '#core/codec.ts';
import type { ControlStore } from '#core/control.ts';
import type { Log } from '#core/log.ts';
import type { Logger, Runtime } from '#core/runtime.ts';
import type { TableId } from '#core/schema.ts';
import type { Source } from '#core/source.ts';
import type { CaptureObserver } from './observer.ts';

export type CaptureOptions = {
  /** How long a silent holder keeps the lease. Renewed every third of it. */
  readonly leaseTtlMs: number;
  /** The checkpoint is stored at most this often while it moves; only then the source is told. */
  readonly checkpointIntervalMs: number;
  /** Between two watermarks while changes flow. */
  readonly watermarkIntervalMs: number;
  /** Between two watermarks while nothing but heartbeats comes. */
  readonly idleWatermarkIntervalMs: number;
  /** Between two heartbeats through the source's log. */
  readonly heartbeatIntervalMs: number;
  /** Between two looks at tables, slot and publication. */
  readonly fingerprintIntervalMs: number;
  /** Encoded records that may wait for the log; as much again may be on its way there. */
  readonly pendingBytesMax: number;
  /** A transaction with more changes than this gets a watermark of its own. */
  readonly largeTransactionChanges: number;
  /** An append that takes longer is shown as `waiting_for_log`. */
  readonly stallMs: number;
  /** Before the source is tried again: doubles from the first to the last. */
  readonly reconnectFirstMs: number;
  readonly reconnectMaxMs: number;
  /** Loads that are carried on at once, each with a connection to the source. */
  readonly loadsAtOnce: number;
  /** Between two looks for loads to carry on. */
  readonly loadPollMs: number;
  readonly chunk: ChunkLimits;
  /** Between two looks at what reads of the source show, while they lag behind the stream. */
  readonly visibilityIntervalMs: number;
  /** Transactions that the stream has shown and reads have not which are remembered. */
  readonly shownMax: number;
};

export const defaultCaptureOptions: CaptureOptions = {
  leaseTtlMs: 15_000,
  checkpointIntervalMs: 1_000,
  watermarkIntervalMs: 1_000,
  idleWatermarkIntervalMs: 5_000,
  heartbeatIntervalMs: 3_000,
  fingerprintIntervalMs: 10_000,
  pendingBytesMax: 2 * 1024 * 1024,
  largeTransactionChanges: 10_000,
  stallMs: 2_000,
  reconnectFirstMs: 100,
  reconnectMaxMs: 5_000,
  loadsAtOnce: 2,
  loadPollMs: 2_000,
  chunk: { targetMs: 250, rowsFirst: 500, rowsMax: 50_000, bytesMax: 4 * 1024 * 1024, hotMax: 20_000 },
  visibilityIntervalMs: 1_000,
  shownMax: 200_000,
};

/** All that capture of one pipeline needs. It owns none of it: the caller disposes of source, log and control store. */
export type CaptureDeps = {
  /** The pipeline's name: part of every control-store key. */
  readonly pipeline: string;
  /** Host and process id, for people who look at the lease. */
  readonly describedAs: string | null;
  readonly source: Source;
  readonly log: Log;
  readonly control: ControlStore;
  readonly codec: Codec;
  readonly runtime: Runtime;
  readonly logger: Logger;
  readonly observer: CaptureObserver;
  /** Names of the configured sinks: registered with start offsets when the pipeline starts for the first time. */
  readonly sinks: readonly string[];
  /** True for a table of which nothing is loaded when capture of it begins: its rows were copied by other means, or a command loads them. */
  readonly snapshotNever: (table: TableId) => boolean;
  readonly options: CaptureOptions;
};
