import type { DesiredRow } from '#core/control-rows.ts';
import type { LogEnds, LogUsage } from '#core/log.ts';
import type { ReconcileRow } from '#core/reconcile-row.ts';
import type { PipelineConfig, SinkConfig } from '../config/config.ts';
import type { ApplyView } from './apply-view.ts';
import type { CaptureView } from './capture-view.ts';
import type { ConsumerWindow } from './consumer-state.ts';
import type { SourceTime } from './source-time.ts';
import type { TroubleCell } from './trouble.ts';
import type { Wanted } from './wanted.ts';

export type Role = 'capture' | 'apply';

/** A sink as the supervisor sees it. */
export type SinkUnit = {
  readonly config: SinkConfig;
  readonly view: ApplyView;
  readonly trouble: TroubleCell;
  readonly wanted: Wanted;
  readonly consumer: ConsumerWindow;
  running: boolean;
};

/** All that status and metrics are made from. */
export type PipelineState = {
  readonly config: PipelineConfig;
  readonly roles: readonly Role[];
  readonly time: SourceTime;
  readonly capture: CaptureView;
  readonly trouble: TroubleCell;
  /** Set while an append waits for room in the log. */
  readonly logFull: TroubleCell;
  readonly sinks: readonly SinkUnit[];
  desired: DesiredRow;
  /** Newest reconciliations; none while another process captures. */
  reconciles: readonly ReconcileRow[];
  logUsage: LogUsage | null;
  /** Of each partition, when the log was looked at last; null where nobody here applies it, or it could not be looked at. */
  logEnds: readonly LogEnds[] | null;
  /** When `logUsage` and `logFull` were looked at last. */
  logSeenAtWallMs: number;
  /** True after a request to step down, until another process has the lease or none has taken it. */
  aside: boolean;
  ended: boolean;
};
