import { paceOf } from '#core/load-pace.ts';
import { isUnderWay, type LoadRow } from '#core/load-row.ts';
import type { WallMs } from '#core/position.ts';
import { HELD_MEND, heldText } from '#core/wal-budget.ts';
import type { LoadStatus, PipelineState as StateName, PipelineStatus, SinkState, SinkStatus } from '../http/status-document.ts';
import { lagOf, partitionsOf } from './consumer-lag.ts';
import type { PipelineState, SinkUnit } from './pipeline-state.ts';
import { reconcileStatus } from './reconcile-view.ts';
import { troubleOf } from './trouble.ts';

/** What the daemon tells of a pipeline: facts, no value of any row. */
export function pipelineStatus(state: PipelineState, nowWallMs: WallMs): PipelineStatus {
  const { capture, config, logUsage, time } = state;
  return {
    name: config.name,
    state: stateName(state),
    trouble: pipelineTrouble(state),
    roles: state.roles,
    lease: leaseStatus(state, nowWallMs),
    epoch: capture.checkpoint?.epoch ?? null,
    position: capture.checkpoint?.position ?? null,
    sourceTimeMicros: capture.readUpTo,
    clockSkewMs: time.skewMs,
    slot: capture.slot,
    log: logUsage === null ? null : { kind: config.log.kind, bytes: logUsage.bytes, bytesMax: logUsage.bytesMax },
    tables: capture.tables.map(({ table, state: tableState, reason, reconcileWanted }) => ({
      table,
      state: tableState,
      reason: reason === null ? null : `${reason.code}: ${reason.text}`,
      reconcileWanted,
    })),
    refused: capture.refused,
    loadsHeld: heldStatus(capture.loadsHeld),
    loads: capture.loads.filter(isUnderWay).map((row) => loadStatus(row, nowWallMs)),
    sinks: state.sinks.map((sink) => sinkStatus(state, sink)),
  };
}

function heldStatus(held: PipelineState['capture']['loadsHeld']): PipelineStatus['loadsHeld'] {
  return held === null ? null : { reason: heldText(held.held), mend: HELD_MEND, sinceWallMs: held.sinceWallMs };
}

function loadStatus(row: LoadRow, nowWallMs: WallMs): LoadStatus {
  const { table, sink, state, paused, rows, bytes, rowsExpected, startedAtWallMs } = row;
  const { percent, secondsLeft } = paceOf(row, nowWallMs);
  return { table, sink, state, paused, rows, bytes, rowsExpected, percent, secondsLeft, startedAtWallMs };
}

function leaseStatus({ capture: { lease } }: PipelineState, nowWallMs: WallMs): PipelineStatus['lease'] {
  if (lease === null) return null;
  const { expiresAtWallMs } = lease;
  return { ...lease, expiresInSeconds: expiresAtWallMs === null ? null : Math.max(0, (expiresAtWallMs - nowWallMs) / 1_000) };
}

export function stateName(state: PipelineState): StateName {
  if (state.ended) return 'stopped';
  if (state.desired.paused) return 'paused';
  if (state.trouble.get() !== null) return state.trouble.manual ? 'failed' : 'retrying';
  if (state.aside) return 'standby';
  switch (state.capture.state?.tag) {
    case undefined:
      return state.roles.includes('capture') ? 'starting' : 'streaming';
    case 'standby':
      return 'standby';
    case 'starting':
      return state.logFull.get() === null ? 'starting' : 'retrying';
    case 'streaming':
      return state.logFull.get() === null ? 'streaming' : 'retrying';
    case 'reconnecting':
    case 'waiting_for_log':
      return 'retrying';
    case 'stopping':
    case 'stopped':
      return 'stopped';
  }
}

function pipelineTrouble(state: PipelineState): PipelineStatus['trouble'] {
  return state.trouble.get() ?? state.logFull.get() ?? captureTrouble(state);
}

/** What capture rides out by itself. */
function captureTrouble({ capture: { state, stateSinceWallMs }, logSeenAtWallMs }: PipelineState): PipelineStatus['trouble'] {
  switch (state?.tag) {
    case 'reconnecting':
      return troubleOf(state.code, state.message, stateSinceWallMs);
    case 'waiting_for_log':
      // The log may only be full, which shows when it is looked at the next time.
      if (logSeenAtWallMs < stateSinceWallMs) return null;
      return troubleOf('log_unavailable', 'the log has not answered an append for a while', stateSinceWallMs);
    default:
      return null;
  }
}

function sinkStatus(state: PipelineState, unit: SinkUnit): SinkStatus {
  const status = unit.running ? unit.view.status?.() : undefined;
  const watermark = status?.watermark ?? null;
  const partitions = partitionsOf(status, state.logEnds);
  return {
    name: unit.config.name,
    kind: unit.config.kind,
    state: sinkStateName(state, unit),
    trouble: unit.trouble.get() ?? unit.view.waiting(),
    loading: status?.loading ?? [],
    watermark: watermark === null ? null : { sequence: watermark.sequence, sourceTimeMicros: watermark.sourceTime },
    lagSeconds: watermark === null ? null : state.time.secondsSince(watermark.sourceTime),
    lagRecords: lagOf(partitions)?.sum ?? null,
    partitions,
    parkedKeys: status?.parked.keys ?? 0,
    parkedAwaitingRepair: status?.parked.awaitingRepair ?? 0,
    parkedOldestMicros: status?.parked.oldestCommittedAt ?? null,
    blocked: status?.blocked ?? [],
    inFlightRows: status?.inFlightRows ?? 0,
    reconcile: reconcileStatus(state.reconciles, unit.config.name),
  };
}

export function sinkStateName(state: PipelineState, unit: SinkUnit): SinkState {
  if (state.ended) return 'stopped';
  if (state.desired.paused || state.desired.pausedSinks.includes(unit.config.name)) return 'paused';
  if (unit.trouble.get() !== null) return unit.trouble.manual ? 'failed' : 'retrying';
  if (!unit.running) return 'waiting';
  return unit.view.status?.().state ?? 'starting';
}
