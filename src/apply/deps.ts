import type { Codec } from '#core/codec.ts';
import type { ControlStore } from '#core/control.ts';
import type { Log } from '#core/log.ts';
import type { Logger, Runtime } from '#core/runtime.ts';
import type { TableId } from '#core/schema.ts';
import type { Sink } from '#core/sink.ts';
import type { ApplyObserver } from './observer.ts';

export type ApplyOptions = {
  /** Progress that no batch carried to the sink is stored by itself at about such times. */
  readonly idleSaveMs: number;
  /** Parked keys of the sink beyond which it stops. */
  readonly parkedKeysMax: number;
  /** Log bytes that are read ahead of what is being applied, for each partition. */
  readonly readAheadBytesMax: number;
  readonly backoffFirstMs: number;
  readonly backoffMaxMs: number;
  /** How often the control store is looked at: for a sink's row, approvals, and requests. */
  readonly controlPollMs: number;
  /** How often pending truncate sweeps are looked at. */
  readonly sweepPollMs: number;
  /** A partition that another worker took is taken back only after its progress stood still for this long. */
  readonly fencedIdleMs: number;
  /** The same where the log shares partitions out: whoever has it by then is its owner, unless that was not told yet. */
  readonly sharedIdleMs: number;
};

export const applyDefaults: ApplyOptions = {
  idleSaveMs: 1_000,
  parkedKeysMax: 1_000,
  readAheadBytesMax: 1024 * 1024,
  backoffFirstMs: 100,
  backoffMaxMs: 5_000,
  controlPollMs: 1_000,
  sweepPollMs: 250,
  fencedIdleMs: 30_000,
  sharedIdleMs: 3_000,
};

/** What one sink's apply loop works with. The sink and the log stay the caller's: they are not disposed here. */
export type ApplyDeps = {
  readonly pipeline: string;
  readonly sinkName: string;
  /** True for a table of which a sink that is configured later is given no load: its rows were copied there by other means. */
  readonly snapshotNever: (table: TableId) => boolean;
  readonly sink: Sink;
  readonly log: Log;
  readonly control: ControlStore;
  readonly codec: Codec;
  readonly runtime: Runtime;
  readonly logger: Logger;
  readonly observer: ApplyObserver;
  readonly options: ApplyOptions;
};

/** `stop`: finish the batch in hand, store progress, leave. `kill`: at once. */
export type ApplySignals = { readonly stop: AbortSignal; readonly kill: AbortSignal };
