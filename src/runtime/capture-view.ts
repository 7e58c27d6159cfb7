import type { CheckpointRow, TableRow } from '#core/control-rows.ts';
import { isUnderWay, type LoadRow } from '#core/load-row.ts';
import type { EpochMicros } from '#core/position.ts';
import { codeOf } from '#core/errors.ts';
import type { Logger, Runtime } from '#core/runtime.ts';
import type { RefusedTable, SlotFacts } from '#core/source.ts';
import { HELD_MEND, heldText, type LoadsHeld } from '#core/wal-budget.ts';
import type { CaptureObserver, CaptureState } from '../capture/observer.ts';
import type { LeaseFacts } from '../lease/lease.ts';
import type { Metrics, SetGauge } from '../metrics/registry.ts';
import { errorFields } from './logger.ts';
import { Reminder } from './reminder.ts';
import type { SourceTime } from './source-time.ts';
import type { Transit } from './transit.ts';

/** The newest facts that capture told of itself. */
export type CaptureView = {
  state: CaptureState | null;
  /** When it was entered: a state that repeats keeps the time at which it began. */
  stateSinceWallMs: number;
  lease: LeaseFacts | null;
  slot: SlotFacts | null;
  tables: readonly TableRow[];
  loads: readonly LoadRow[];
  /** Why no load reads rows for now, and since when; null where loads go on. */
  loadsHeld: { readonly held: LoadsHeld; readonly sinceWallMs: number } | null;
  /** Tables that match the configuration and are not captured. */
  refused: readonly RefusedTable[];
  checkpoint: CheckpointRow | null;
  readUpTo: EpochMicros | null;
  heartbeatAt: EpochMicros | null;
  queue: { readonly bytes: number; readonly bytesMax: number } | null;
};

export type CaptureViewDeps = {
  readonly pipeline: string;
  /** What this process calls itself as a holder. */
  readonly describedAs: string;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly runtime: Pick<Runtime, 'wallMs' | 'monotonicMs'>;
  readonly time: SourceTime;
  readonly transit: Transit;
  /** Told of each new state and of each new look at the lease. */
  readonly onChange: (view: CaptureView) => void;
};

/** Keeps what capture tells for the status, counts it for the metrics, and logs what a person should read. */
export function observeCapture(deps: CaptureViewDeps): { readonly view: CaptureView; readonly observer: CaptureObserver } {
  const { pipeline, metrics, logger, runtime, time } = deps;
  const reminder = new Reminder(runtime);
  const view: CaptureView = {
    state: null,
    stateSinceWallMs: runtime.wallMs(),
    lease: null,
    slot: null,
    tables: [],
    loads: [],
    loadsHeld: null,
    refused: [],
    checkpoint: null,
    readUpTo: null,
    heartbeatAt: null,
    queue: null,
  };
  let standbyFor: string | null = null;
  let spilledBytes = 0;
  const seenRefused = new Set<string>();
  const observer: CaptureObserver = {
    state: (state) => {
      if (view.state?.tag !== state.tag) {
        view.stateSinceWallMs = runtime.wallMs();
        logger.log('info', `capture is ${state.tag.replaceAll('_', ' ')}`, 'generation' in state ? { generation: state.generation } : {});
      }
      if (state.tag === 'reconnecting') metrics.count('causeway_source_reconnects_total', { pipeline, reason: state.code });
      view.state = state;
      deps.onChange(view);
    },
    read: ({ insert, update, delete: deleted, truncate, withheld, dropped }) => {
      for (const [op, count] of Object.entries({ insert, update, delete: deleted, truncate, withheld, dropped })) {
        if (count > 0) metrics.count('causeway_changes_total', { pipeline, op }, count);
      }
    },
    published: ({ durationMs, offsets }) => {
      metrics.observe('causeway_stage_duration_seconds', { pipeline, sink: '', stage: 'publish' }, durationMs / 1_000);
      deps.transit.durable(offsets);
    },
    queue: (bytes, bytesMax) => void (view.queue = { bytes, bytesMax }),
    watermark: () => undefined,
    readUpTo: (sourceTime) => {
      const seconds = view.readUpTo === null || sourceTime > view.readUpTo ? time.secondsSince(sourceTime) : null;
      if (seconds !== null) metrics.observe('causeway_stage_duration_seconds', { pipeline, sink: '', stage: 'capture' }, seconds);
      view.readUpTo = sourceTime;
    },
    checkpoint: (row) => void (view.checkpoint = row),
    lease: (facts) => {
      const acquired = facts.held && view.lease?.held !== true;
      if (acquired) metrics.count('causeway_lease_transitions_total', { lease: pipeline, reason: 'acquired' });
      view.lease = facts;
      const other = heldByAnother(facts, deps.describedAs) ? facts.holder : null;
      if (other !== null && other !== standbyFor) {
        logger.log('info', 'standby: another process captures', { holder: other, generation: facts.generation });
      }
      standbyFor = other;
      deps.onChange(view);
    },
    leaseRenewed: (durationMs) => metrics.observe('causeway_lease_renew_duration_seconds', { lease: pipeline }, durationMs / 1_000),
    leaseEnded: (how) => metrics.count('causeway_lease_transitions_total', { lease: pipeline, reason: how }),
    slot: (facts) => {
      view.slot = facts;
      const now = facts?.spilledBytes ?? null;
      if (now === null) return;
      // A count that fell was begun anew, by a reset of the statistics or with a new slot.
      metrics.count('causeway_source_spilled_bytes_total', { pipeline }, now < spilledBytes ? now : now - spilledBytes);
      spilledBytes = now;
    },
    loads: (rows) => void (view.loads = rows),
    loadsHeld: (held) => {
      const before = view.loadsHeld;
      if (held !== null && before === null) logger.log('warn', `loads are held: ${heldText(held)}`, { mend: HELD_MEND });
      if (held === null && before !== null) logger.log('info', 'loads go on: the source keeps enough of its log for them');
      view.loadsHeld = held === null ? null : { held, sinceWallMs: before?.sinceWallMs ?? runtime.wallMs() };
    },
    tables: (rows) => {
      for (const row of rows) {
        const before = view.tables.find(({ table }) => table === row.table);
        if (row.state !== 'streaming' && before?.state !== row.state) {
          logger.log('error', `table is ${row.state}`, {
            table: row.table,
            reason: row.reason === null ? undefined : `${row.reason.code}: ${row.reason.text}`,
            mend: 'docs/resync.md',
          });
        }
      }
      view.tables = rows;
    },
    refused: (tables) => {
      view.refused = tables;
      for (const { table, code, reason, mend } of tables) {
        if (seenRefused.has(table)) continue;
        seenRefused.add(table);
        logger.log('warn', 'table is not captured', { table, reason: `${code}: ${reason}`, mend });
      }
    },
    fingerprint: ({ table, verdict, text }) =>
      logger.log(verdict === 'harmless' ? 'info' : 'warn', 'table changed at the source', { table, verdict, reason: text }),
    sourceClock: (clock) => {
      time.observe(clock?.offsetMicros ?? null);
      view.heartbeatAt = clock === null ? null : time.now();
    },
    trouble: (error, during) => {
      const code = codeOf(error);
      if (!reminder.isDue(during, `${code} ${error instanceof Error ? error.message : ''}`)) return;
      logger.log('warn', `${during}: trying again`, { ...errorFields(error), code });
    },
  };
  return { view, observer };
}

/** True where this process is a standby for another one. */
export function heldByAnother(lease: LeaseFacts | null, describedAs: string): boolean {
  return lease !== null && !lease.held && lease.holder !== null && lease.holder !== describedAs;
}

/** The gauges of capture. A standby exports its lease and nothing else. */
export function captureGauges(pipeline: string, view: CaptureView, time: SourceTime, set: SetGauge): void {
  const { lease, slot, queue } = view;
  if (lease !== null) {
    set('causeway_lease_held', { lease: pipeline }, lease.held ? 1 : 0);
    set('causeway_lease_generation', { lease: pipeline }, lease.generation);
    set('causeway_lease_ttl_seconds', { lease: pipeline }, lease.ttlMs / 1_000);
    set('causeway_lease_expiry_timestamp_seconds', { lease: pipeline }, seconds(lease.expiresAtWallMs, 1_000));
  }
  if (lease?.held !== true) return;
  set('causeway_source_watermark_timestamp_seconds', { pipeline }, seconds(view.readUpTo, 1_000_000));
  set('causeway_source_heartbeat_timestamp_seconds', { pipeline }, seconds(view.heartbeatAt, 1_000_000));
  set('causeway_clock_skew_seconds', { pipeline, peer: 'source' }, seconds(time.skewMs, 1_000));
  if (queue !== null) {
    set('causeway_queue_bytes', { pipeline, queue: 'publish' }, queue.bytes);
    set('causeway_queue_capacity_bytes', { pipeline, queue: 'publish' }, queue.bytesMax);
  }
  if (slot !== null) {
    set('causeway_source_backlog_bytes', { pipeline }, slot.backlogBytes);
    set('causeway_source_retained_bytes', { pipeline }, slot.retainedBytes);
    set('causeway_source_retention_headroom_bytes', { pipeline }, slot.headroomBytes);
    set('causeway_slot_active', { pipeline }, slot.active ? 1 : 0);
    set('causeway_slot_info', { pipeline, slot: slot.name, plugin: slot.plugin, failover: String(slot.failover) }, 1);
    set('causeway_source_long_transaction_seconds', { pipeline }, slot.openTransactionSeconds);
    for (const status of ['reserved', 'extended', 'unreserved', 'lost']) {
      if (slot.walStatus !== null) set('causeway_slot_wal_status', { pipeline, status }, slot.walStatus === status ? 1 : 0);
    }
  }
  for (const state of ['streaming', 'resync_required', 'stopped'] as const) {
    set('causeway_tables', { pipeline, state }, view.tables.filter((row) => row.state === state).length);
  }
  set('causeway_tables', { pipeline, state: 'not_captured' }, view.refused.length);
  set(
    'causeway_reconcile_wanted',
    { pipeline },
    view.tables.reduce((sum, row) => sum + row.reconcileWanted, 0),
  );
  const underWay = view.loads.filter(isUnderWay);
  set('causeway_snapshot_active', { pipeline }, underWay.filter(({ paused }) => !paused).length);
  set('causeway_snapshot_held', { pipeline }, view.loadsHeld === null ? 0 : 1);
  for (const { table, sink, rows, rowsExpected } of underWay) {
    const labels = { pipeline, table, sink: sink ?? '' };
    set('causeway_snapshot_rows', labels, rows);
    set('causeway_snapshot_rows_expected', labels, rowsExpected);
  }
}

function seconds(value: number | null, per: number): number | null {
  return value === null ? null : value / per;
}
