import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { assert } from '#core/assert.ts';
import { NodeMetrics } from './event-loop.ts';
import { metricTable, type CounterName, type GaugeName, type HistogramName, type LabelsOf, type MetricName } from './names.ts';

/** Sets a gauge for this scrape. A null or undefined value leaves it absent: an unknown figure is not 0. */
export type SetGauge = <N extends GaugeName>(name: N, labels: LabelsOf<N>, value: number | null | undefined) => void;

/** The figures of one process. */
export interface Metrics {
  count<N extends CounterName>(name: N, labels: LabelsOf<N>, by?: number): void;
  observe<N extends HistogramName>(name: N, labels: LabelsOf<N>, value: number): void;
  /** Asked at every scrape. What it does not set is absent from that scrape. Returns a function that removes it again. */
  addGauges(provider: (set: SetGauge) => void): () => void;
  /** A timer came so much later than it was due. */
  timerLate(ms: number): void;
  readonly contentType: string;
  /** What Prometheus reads. */
  text(): Promise<string>;
}

/** A defect that gives every row a label of its own must not take the process's memory. */
const SERIES_PER_METRIC_MAX = 2_000;

export function createMetrics(options: {
  readonly version: string;
  readonly nodeVersion: string;
  readonly nodeDefaults: boolean;
}): Metrics {
  const registry = new Registry();
  const node = options.nodeDefaults ? new NodeMetrics(registry) : null;
  const counters = new Map<string, Counter>();
  const gauges = new Map<string, Gauge>();
  const histograms = new Map<string, Histogram>();
  for (const [name, entry] of Object.entries(metricTable)) {
    const common = { name, help: entry.help, labelNames: [...entry.labels], registers: [registry] };
    if (entry.type === 'counter') counters.set(name, new Counter(common));
    else if (entry.type === 'gauge') gauges.set(name, new Gauge(common));
    else histograms.set(name, new Histogram({ ...common, buckets: [...entry.buckets] }));
  }
  const series = new Map<MetricName, Set<string>>();
  const admitted = (name: MetricName, labels: Readonly<Record<string, string>>): boolean => {
    const known = series.get(name) ?? new Set<string>();
    series.set(name, known);
    const key = JSON.stringify(labels);
    if (!known.has(key) && known.size >= SERIES_PER_METRIC_MAX) return false;
    known.add(key);
    return true;
  };
  const providers = new Set<(set: SetGauge) => void>([
    (set) => {
      set('causeway_build_info', { version: options.version, node_version: options.nodeVersion }, 1);
    },
  ]);

  return {
    count: (name, labels, by = 1) => {
      if (admitted(name, labels)) counters.get(name)?.inc(labels, by);
    },
    observe: (name, labels, value) => {
      if (admitted(name, labels)) histograms.get(name)?.observe(labels, value);
    },
    addGauges: (provider) => {
      providers.add(provider);
      return () => void providers.delete(provider);
    },
    timerLate: (ms) => node?.late(ms),
    contentType: registry.contentType,
    text: async () => {
      node?.scrape();
      for (const gauge of gauges.values()) gauge.reset();
      for (const provider of providers) {
        provider((name, labels, value) => {
          assert(gauges.has(name), 'a gauge is one of the table');
          if (value !== null && value !== undefined && Number.isFinite(value)) gauges.get(name)?.set(labels, value);
        });
      }
      return registry.metrics();
    },
  };
}
