import type { Codec } from '#core/codec.ts';
import type { ControlStore } from '#core/control.ts';
import type { Log } from '#core/log.ts';
import type { Logger, Runtime } from '#core/runtime.ts';
import type { Sink } from '#core/sink.ts';
import type { Source } from '#core/source.ts';
import type { PairingLimits } from './pairing.ts';
import type { Spill } from './spill.ts';

export type ReconcileOptions = PairingLimits & {
  /** Tables that are compared at once, each with two connections to the source. */
  readonly tablesAtOnce: number;
  /** Rows that one read of the source brings at most, and bytes of them. */
  readonly chunkRowsMax: number;
  readonly chunkBytesMax: number;
  /** How long the sink may take to pass a place of the log, and the capture holder to answer. */
  readonly patienceMs: number;
  readonly pollMs: number;
  /** Keys that wait to be looked at closely; with more the scans wait. */
  readonly suspectsMax: number;
  /** Keys that are looked at closely in one go: bounded by what one request carries. */
  readonly closeLookKeys: number;
  /** Between two times that the run's place is stored. */
  readonly saveEveryMs: number;
  /** Differences of each kind that are kept with their keys. */
  readonly keptPerKind: number;
  /** Differences that the run may have published again by itself, over all tables; null for none. */
  readonly repairMax: number | null;
  /** Rows of the source a second; null for as fast as it goes. */
  readonly rowsPerSecondMax: number | null;
};

export const defaultReconcileOptions: ReconcileOptions = {
  tablesAtOnce: 4,
  chunkRowsMax: 10_000,
  chunkBytesMax: 4 * 1024 * 1024,
  patienceMs: 300_000,
  pollMs: 250,
  suspectsMax: 50_000,
  closeLookKeys: 1_000,
  saveEveryMs: 10_000,
  keptPerKind: 1_000,
  pendingTextMax: 16 * 1024 * 1024,
  repairMax: null,
  rowsPerSecondMax: null,
};

/** What a run works with. It owns none of it. */
export type ReconcileDeps = {
  readonly pipeline: string;
  readonly sinkName: string;
  readonly source: Pick<Source, 'rows'>;
  readonly sink: Sink;
  readonly log: Log;
  readonly control: ControlStore;
  readonly codec: Codec;
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** Room on disk for what does not fit memory. */
  readonly spill: () => Spill;
  readonly options: ReconcileOptions;
};
