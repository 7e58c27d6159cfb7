import { pipelineStates, sinkStates } from '../http/status-document.ts';
import type { SetGauge } from '../metrics/registry.ts';
import { applyGauges } from './apply-view.ts';
import { captureGauges } from './capture-view.ts';
import { consumerStates } from './consumer-state.ts';
import { lagOf, partitionsOf } from './consumer-lag.ts';
import { sinkStateName, stateName } from './pipeline-status.ts';
import type { PipelineState } from './pipeline-state.ts';
import { reconcileGauges } from './reconcile-view.ts';

/** Sets every gauge of a pipeline for one scrape. What is not known stays absent. */
export function pipelineGauges(state: PipelineState, set: SetGauge): void {
  const pipeline = state.config.name;
  const now = stateName(state);
  for (const name of pipelineStates) set('causeway_pipeline_state', { pipeline, state: name }, now === name ? 1 : 0);
  captureGauges(pipeline, state.capture, state.time, set);
  const standby = now === 'standby';
  if (!standby) {
    set('causeway_queue_bytes', { pipeline, queue: 'log' }, state.logUsage?.bytes);
    set('causeway_queue_capacity_bytes', { pipeline, queue: 'log' }, state.logUsage?.bytesMax);
  }
  for (const sink of state.sinks) {
    if (standby && !sink.running) continue;
    const labels = { pipeline, sink: sink.config.name };
    const sinkNow = sinkStateName(state, sink);
    const { freshnessMs } = sink.config;
    set('causeway_slo_objective_seconds', labels, freshnessMs === null ? null : freshnessMs / 1_000);
    reconcileGauges(labels, state.reconciles, set);
    for (const name of sinkStates) set('causeway_sink_state', { ...labels, state: name }, sinkNow === name ? 1 : 0);
    if (!sink.running) continue;
    applyGauges(labels, sink.view, set);
    const lag = lagOf(partitionsOf(sink.view.status?.(), state.logEnds));
    set('causeway_consumer_lag_records', labels, lag?.sum);
    set('causeway_consumer_max_partition_lag_records', labels, lag?.worst);
    const consumer = sink.consumer.state;
    if (consumer === null) continue;
    for (const name of consumerStates) set('causeway_consumer_state', { ...labels, state: name }, consumer === name ? 1 : 0);
  }
}
