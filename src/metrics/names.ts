/*
 * Every metric, with its help and labels: the text of docs/metrics.md. Base units; `_total` counts; label sets are closed.
 * Never a label: a position, a partition, a key, an error's text.
 */

export type MetricType = 'counter' | 'gauge' | 'histogram';

type MetricEntry = {
  readonly type: MetricType;
  readonly group:
    'Flow and lag' | 'Source log and slot' | 'Leases and fencing' | 'Dead letters' | 'Tables and schema' | 'Reconciliation' | 'Process';
  readonly labels: readonly string[];
  readonly help: string;
  readonly buckets?: readonly number[];
};

const LAG_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600] as const;
const STAGE_BUCKETS = [0.005, 0.025, 0.1, 0.5, 1, 5, 30, 120] as const;
const RENEW_BUCKETS = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;

export const metricTable = {
  causeway_end_to_end_lag_seconds: {
    type: 'histogram',
    group: 'Flow and lag',
    labels: ['pipeline', 'sink'],
    buckets: LAG_BUCKETS,
    help: "Source commit to durable in the sink, both on the source's clock; one observation for each change that took effect.",
  },
  causeway_stage_duration_seconds: {
    type: 'histogram',
    group: 'Flow and lag',
    labels: ['pipeline', 'sink', 'stage'],
    buckets: STAGE_BUCKETS,
    help:
      'Time spent per stage: capture (source commit to read from its log, of the newest transaction of each read), publish (one append to the ' +
      'log; sink is empty for both), transit (durable in the log to sent to the sink, of the oldest record of each batch; only where one process ' +
      'does both) or apply (one batch at the sink).',
  },
  causeway_source_watermark_timestamp_seconds: {
    type: 'gauge',
    group: 'Flow and lag',
    labels: ['pipeline'],
    help: "Time, on the source's clock, up to which its log has been read, heartbeats included.",
  },
  causeway_sink_watermark_timestamp_seconds: {
    type: 'gauge',
    group: 'Flow and lag',
    labels: ['pipeline', 'sink'],
    help: "All source commits at or before this time, on the source's clock, are durable at the sink, except keys that are parked. Says nothing of tables that are being loaded there; absent where all are.",
  },
  causeway_sink_tables_loading: {
    type: 'gauge',
    group: 'Flow and lag',
    labels: ['pipeline', 'sink'],
    help: 'Tables that are being loaded at the sink, or of which a load is still to come: its watermark says nothing of them.',
  },
  causeway_consumer_lag_records: {
    type: 'gauge',
    group: 'Flow and lag',
    labels: ['pipeline', 'sink'],
    help: 'Records of the log that have not taken effect, summed over the partitions that this process applies; absent while one is not known.',
  },
  causeway_consumer_max_partition_lag_records: {
    type: 'gauge',
    group: 'Flow and lag',
    labels: ['pipeline', 'sink'],
    help: 'The same of the partition that is behind the most.',
  },
  causeway_consumer_state: {
    type: 'gauge',
    group: 'Flow and lag',
    labels: ['pipeline', 'sink', 'state'],
    help:
      '1 for the state of the worst partition that this process applies, over the last minute: ok (comes on, or caught up), warn (comes on and falls ' +
      'behind all the same), stall (works without coming on), stop (does not work: a sink that is down, a schema that waits) or rewind (behind ' +
      'where it was). Absent until a minute was seen.',
  },
  causeway_slo_objective_seconds: {
    type: 'gauge',
    group: 'Flow and lag',
    labels: ['pipeline', 'sink'],
    help: 'How old the watermark of the sink may be, as configured (`slo.freshness`); absent where nothing is.',
  },
  causeway_sequence_gaps_total: {
    type: 'counter',
    group: 'Flow and lag',
    labels: ['pipeline', 'sink'],
    help: 'Gaps that the sink met in the log, each once: a counter jumped, a tail missing, or records gone (log_gap, log_offset_gone). Must stay 0.',
  },
  causeway_sequence_regressions_total: {
    type: 'counter',
    group: 'Flow and lag',
    labels: ['pipeline', 'sink'],
    help: 'Changes that were discarded because the sink holds their sequence or a greater one: older ones, and repetitions after a restart.',
  },
  causeway_changes_total: {
    type: 'counter',
    group: 'Flow and lag',
    labels: ['pipeline', 'op'],
    help: 'Changes read from the source log, by operation.',
  },
  causeway_applied_total: {
    type: 'counter',
    group: 'Flow and lag',
    labels: ['pipeline', 'sink', 'op', 'result'],
    help: 'What became of a change: applied, stale, duplicate, fenced, filtered or dead_lettered.',
  },
  causeway_tombstones_written_total: {
    type: 'counter',
    group: 'Flow and lag',
    labels: ['pipeline', 'sink'],
    help: 'Rows that became tombstones, by deletes and by sweeps after a truncate. All are kept.',
  },
  causeway_apply_retries_total: {
    type: 'counter',
    group: 'Flow and lag',
    labels: ['pipeline', 'sink', 'reason'],
    help: 'Attempts that were repeated, by error code.',
  },
  causeway_apply_in_flight: {
    type: 'gauge',
    group: 'Flow and lag',
    labels: ['pipeline', 'sink'],
    help: 'Rows sent to the sink and not answered.',
  },
  causeway_queue_bytes: {
    type: 'gauge',
    group: 'Flow and lag',
    labels: ['pipeline', 'queue'],
    help: 'Bytes held in a bounded queue: log is the embedded log.',
  },
  causeway_queue_capacity_bytes: {
    type: 'gauge',
    group: 'Flow and lag',
    labels: ['pipeline', 'queue'],
    help: 'The bound of the queue.',
  },
  causeway_egress_bytes_total: {
    type: 'counter',
    group: 'Flow and lag',
    labels: ['pipeline', 'sink'],
    help: 'Bytes of log records that went into batches for the sink.',
  },
  causeway_pipeline_state: {
    type: 'gauge',
    group: 'Flow and lag',
    labels: ['pipeline', 'state'],
    help: '1 for the current state: starting, standby, streaming, paused, retrying, failed or stopped.',
  },
  causeway_sink_state: {
    type: 'gauge',
    group: 'Flow and lag',
    labels: ['pipeline', 'sink', 'state'],
    help: '1 for the current state: waiting, starting, running, retrying, blocked, paused, failed, stopping or stopped.',
  },
  causeway_clock_skew_seconds: {
    type: 'gauge',
    group: 'Flow and lag',
    labels: ['pipeline', 'peer'],
    help: 'Local clock minus the clock of the peer (source), half the round trip removed.',
  },
  causeway_source_backlog_bytes: {
    type: 'gauge',
    group: 'Source log and slot',
    labels: ['pipeline'],
    help: 'Log bytes at the source after our confirmed position.',
  },
  causeway_source_retained_bytes: {
    type: 'gauge',
    group: 'Source log and slot',
    labels: ['pipeline'],
    help: 'Log bytes that the source keeps for the slot; the risk for its disk.',
  },
  causeway_source_retention_headroom_bytes: {
    type: 'gauge',
    group: 'Source log and slot',
    labels: ['pipeline'],
    help: 'Bytes that may still be written before the source gives the slot up; absent where it never does.',
  },
  causeway_slot_active: {
    type: 'gauge',
    group: 'Source log and slot',
    labels: ['pipeline'],
    help: '1 while a connection holds the slot.',
  },
  causeway_slot_wal_status: {
    type: 'gauge',
    group: 'Source log and slot',
    labels: ['pipeline', 'status'],
    help: '1 for the current pg_replication_slots.wal_status: reserved, extended, unreserved or lost.',
  },
  causeway_slot_info: {
    type: 'gauge',
    group: 'Source log and slot',
    labels: ['pipeline', 'slot', 'plugin', 'failover'],
    help: 'Constant 1, with the name of the slot, its output plugin, and whether a standby of the source can take it over.',
  },
  causeway_source_spilled_bytes_total: {
    type: 'counter',
    group: 'Source log and slot',
    labels: ['pipeline'],
    help: 'Bytes of large transactions that logical decoding wrote to the disk of the source, as the source counts them.',
  },
  causeway_source_long_transaction_seconds: {
    type: 'gauge',
    group: 'Source log and slot',
    labels: ['pipeline'],
    help:
      'Age of the oldest open transaction that has written, in any database: the slot keeps the log from its beginning. 0 for none; absent where the ' +
      'role lacks pg_read_all_stats.',
  },
  causeway_source_heartbeat_timestamp_seconds: {
    type: 'gauge',
    group: 'Source log and slot',
    labels: ['pipeline'],
    help: "The last heartbeat that was written at the source, on the source's clock.",
  },
  causeway_source_reconnects_total: {
    type: 'counter',
    group: 'Source log and slot',
    labels: ['pipeline', 'reason'],
    help: 'Times that the connection to the source was made again, by error code.',
  },
  causeway_lease_held: { type: 'gauge', group: 'Leases and fencing', labels: ['lease'], help: '1 on the holder, 0 on a standby.' },
  causeway_lease_generation: {
    type: 'gauge',
    group: 'Leases and fencing',
    labels: ['lease'],
    help: 'Fencing token of the capture lease: grows with each start of capture.',
  },
  causeway_lease_ttl_seconds: {
    type: 'gauge',
    group: 'Leases and fencing',
    labels: ['lease'],
    help: 'How long the lease holds without renewal.',
  },
  causeway_lease_expiry_timestamp_seconds: {
    type: 'gauge',
    group: 'Leases and fencing',
    labels: ['lease'],
    help: 'When the held lease ends unless it is renewed, on the local clock.',
  },
  causeway_lease_renew_duration_seconds: {
    type: 'histogram',
    group: 'Leases and fencing',
    labels: ['lease'],
    buckets: RENEW_BUCKETS,
    help: 'How long a renewal took.',
  },
  causeway_lease_transitions_total: {
    type: 'counter',
    group: 'Leases and fencing',
    labels: ['lease', 'reason'],
    help: 'Changes of the lease that this process made or met: acquired, released, expired (not renewed in time), lost (to another) or stepdown (given up).',
  },
  causeway_fenced_writes_total: {
    type: 'counter',
    group: 'Leases and fencing',
    labels: ['pipeline', 'sink'],
    help: 'Changes of a superseded generation or a lost epoch, which changed nothing.',
  },
  causeway_dlq_records_total: {
    type: 'counter',
    group: 'Dead letters',
    labels: ['pipeline', 'sink', 'reason'],
    help: 'Keys parked because the sink refuses a value for ever, by error code.',
  },
  causeway_dlq_released_total: {
    type: 'counter',
    group: 'Dead letters',
    labels: ['pipeline', 'sink', 'how'],
    help: 'Parked keys that were released: applied, floor, replayed or discarded.',
  },
  causeway_dlq_records: { type: 'gauge', group: 'Dead letters', labels: ['pipeline', 'sink'], help: 'Keys that are parked now.' },
  causeway_dlq_oldest_timestamp_seconds: {
    type: 'gauge',
    group: 'Dead letters',
    labels: ['pipeline', 'sink'],
    help: 'Source commit time of the oldest parked change; absent when nothing is parked.',
  },
  causeway_tables: {
    type: 'gauge',
    group: 'Tables and schema',
    labels: ['pipeline', 'state'],
    help: 'Tables by state: streaming, resync_required or stopped; not_captured for those that match the configuration and are left out.',
  },
  causeway_reconcile_wanted: {
    type: 'gauge',
    group: 'Tables and schema',
    labels: ['pipeline'],
    help: 'Differences met at the source that ask for a reconcile, over all tables.',
  },
  causeway_reconcile_running: {
    type: 'gauge',
    group: 'Reconciliation',
    labels: ['pipeline', 'sink'],
    help: '1 while a comparison of source and sink is under way, or the newest one was left in the middle.',
  },
  causeway_reconcile_last_success_timestamp_seconds: {
    type: 'gauge',
    group: 'Reconciliation',
    labels: ['pipeline', 'sink'],
    help: 'End of the last run that compared every table whole, whatever it found; absent before the first.',
  },
  causeway_reconcile_duration_seconds: {
    type: 'gauge',
    group: 'Reconciliation',
    labels: ['pipeline', 'sink'],
    help: 'How long that run took.',
  },
  causeway_reconcile_rows_compared: {
    type: 'gauge',
    group: 'Reconciliation',
    labels: ['pipeline', 'sink'],
    help: 'Rows of the source that it compared.',
  },
  causeway_reconcile_mismatched_rows: {
    type: 'gauge',
    group: 'Reconciliation',
    labels: ['pipeline', 'sink', 'kind'],
    help: 'Differences that it found, each confirmed at one common cut: missing, extra or mismatched. Parked keys are none.',
  },
  causeway_snapshot_active: {
    type: 'gauge',
    group: 'Tables and schema',
    labels: ['pipeline'],
    help: 'Loads of tables that are under way and not paused, those that wait for their turn among them.',
  },
  causeway_snapshot_held: {
    type: 'gauge',
    group: 'Tables and schema',
    labels: ['pipeline'],
    help: '1 while loads read no rows, because the log that the source keeps for the slot would run out before they end; the stream goes on.',
  },
  causeway_snapshot_rows: {
    type: 'gauge',
    group: 'Tables and schema',
    labels: ['pipeline', 'table', 'sink'],
    help: 'Rows that a load has brought durably into the log, those left out that changed meanwhile; absent once it is over. sink is empty for a load for all sinks.',
  },
  causeway_snapshot_rows_expected: {
    type: 'gauge',
    group: 'Tables and schema',
    labels: ['pipeline', 'table', 'sink'],
    help: 'Rows of the table when the load began, as the source estimated them; absent where it did not.',
  },
  causeway_schema_blocked: {
    type: 'gauge',
    group: 'Tables and schema',
    labels: ['pipeline', 'sink'],
    help: 'Tables whose new schema waits for `causeway schema approve`.',
  },
  causeway_build_info: { type: 'gauge', group: 'Process', labels: ['version', 'node_version'], help: 'Constant 1, with the versions.' },
} as const satisfies Readonly<Record<string, MetricEntry>>;

export type MetricName = keyof typeof metricTable;
type NamesOf<T extends MetricType> = { [N in MetricName]: (typeof metricTable)[N]['type'] extends T ? N : never }[MetricName];
export type CounterName = NamesOf<'counter'>;
export type GaugeName = NamesOf<'gauge'>;
export type HistogramName = NamesOf<'histogram'>;
export type LabelsOf<N extends MetricName> = Readonly<Record<(typeof metricTable)[N]['labels'][number], string>>;
