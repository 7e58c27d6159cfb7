import { present } from '#core/assert.ts';
import { CausewayError, type ErrorCode } from '#core/errors.ts';
import type { Logger, Runtime } from '#core/runtime.ts';
import type { ApplyObserver, ApplyStatus } from '../apply/observer.ts';
import type { Trouble } from '../http/status-document.ts';
import type { Metrics, SetGauge } from '../metrics/registry.ts';
import { errorFields } from './logger.ts';
import { Reminder } from './reminder.ts';
import type { SourceTime } from './source-time.ts';
import type { Transit } from './transit.ts';
import { TroubleCell } from './trouble.ts';

export type ApplyView = {
  status: (() => ApplyStatus) | null;
  /** What does not answer and is tried again, since the longest; null while everything answers. */
  readonly waiting: () => Trouble | null;
};

const GAP_CODES: ReadonlySet<ErrorCode> = new Set(['log_gap', 'log_offset_gone']);

/** Keeps what an apply loop tells for the status and counts it for the metrics. */
export function observeApply(deps: {
  readonly pipeline: string;
  readonly sink: string;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly runtime: Pick<Runtime, 'wallMs' | 'monotonicMs'>;
  readonly time: SourceTime;
  readonly transit: Transit;
}): { readonly view: ApplyView; readonly observer: ApplyObserver; readonly failed: (error: unknown) => void } {
  const { pipeline, sink, metrics, logger, runtime, time, transit } = deps;
  const labels = { pipeline, sink };
  const waits = new Map<object, TroubleCell>();
  const reminder = new Reminder(runtime);
  const view: ApplyView = { status: null, waiting: () => waits.values().next().value?.get() ?? null };
  const observer: ApplyObserver = {
    attach: (status) => {
      view.status = status;
      // From here on it is known that there was none yet.
      metrics.count('causeway_sequence_gaps_total', labels, 0);
      metrics.count('causeway_sequence_regressions_total', labels, 0);
    },
    outcome: (op, result, count) => {
      metrics.count('causeway_applied_total', { ...labels, op, result }, count);
      if (result === 'stale') metrics.count('causeway_sequence_regressions_total', labels, count);
      if (op === 'delete' && result === 'applied') metrics.count('causeway_tombstones_written_total', labels, count);
      if (result === 'fenced') metrics.count('causeway_fenced_writes_total', labels, count);
    },
    batch: ({ partition, offset, bytes, durationMs, committedAt }) => {
      metrics.count('causeway_egress_bytes_total', labels, bytes);
      metrics.observe('causeway_stage_duration_seconds', { ...labels, stage: 'apply' }, durationMs / 1_000);
      const waited = transit.secondsSince(partition, offset, runtime.monotonicMs() - durationMs);
      if (waited !== null) metrics.observe('causeway_stage_duration_seconds', { ...labels, stage: 'transit' }, waited);
      for (const moment of committedAt) {
        const lag = time.secondsSince(moment);
        if (lag !== null) metrics.observe('causeway_end_to_end_lag_seconds', labels, lag);
      }
    },
    retry: (reason) => metrics.count('causeway_apply_retries_total', { ...labels, reason }),
    waiting: (call, error) => {
      if (error === null) {
        // A map keeps the order of insertion, so the first wait is the oldest.
        waits.delete(call);
        return;
      }
      const cell = waits.get(call) ?? new TroubleCell(runtime);
      waits.set(call, cell);
      cell.set(error);
      const { code, message } = present(cell.get(), 'a trouble that was just set');
      if (reminder.isDue('waiting', `${code} ${message}`)) logger.log('warn', 'waiting for what does not answer', errorFields(error));
    },
    parked: ({ code, keys }) => metrics.count('causeway_dlq_records_total', { ...labels, reason: code }, keys),
    released: ({ how, keys }) => metrics.count('causeway_dlq_released_total', { ...labels, how }, keys),
    swept: ({ rows }) => metrics.count('causeway_tombstones_written_total', labels, rows),
  };
  let lastGap = '';
  /** Why the loop ended. A gap is met again at each attempt. */
  const failed = (error: unknown): void => {
    if (!(error instanceof CausewayError) || !GAP_CODES.has(error.code) || error.message === lastGap) return;
    lastGap = error.message;
    metrics.count('causeway_sequence_gaps_total', labels);
  };
  return { view, observer, failed };
}

/** The gauges of one sink, where its loop runs in this process. */
export function applyGauges(labels: { readonly pipeline: string; readonly sink: string }, view: ApplyView, set: SetGauge): void {
  const status = view.status?.();
  if (status === undefined) return;
  set('causeway_sink_watermark_timestamp_seconds', labels, status.watermark === null ? null : status.watermark.sourceTime / 1_000_000);
  set('causeway_sink_tables_loading', labels, status.loading.length);
  set('causeway_apply_in_flight', labels, status.inFlightRows);
  set('causeway_dlq_records', labels, status.parked.keys);
  set(
    'causeway_dlq_oldest_timestamp_seconds',
    labels,
    status.parked.oldestCommittedAt === null ? null : status.parked.oldestCommittedAt / 1_000_000,
  );
  set('causeway_schema_blocked', labels, status.blocked.filter(({ approved }) => !approved).length);
}
