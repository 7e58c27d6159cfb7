// eslint-disable-next-line no-restricted-imports -- counts what it is told, and asks no clock
import { createHistogram } from 'node:perf_hooks';
import { collectDefaultMetrics, Gauge, type Registry } from 'prom-client';

/** What prom-client takes from a timer of its own; `nodejs_eventloop_lag_seconds`, from the moment of the scrape, stays. */
const SAMPLED = ['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99'].map((figure) => `nodejs_eventloop_lag_${figure}_seconds`);
/** The longest that a timer can wait: that of prom-client never fires. */
const NEVER_MS = 2 ** 31 - 1;

const MICROS_MAX = 3_600_000_000;

/**
 * Node's own metrics. prom-client fires a timer every ten milliseconds to see how late it comes, which was up to a quarter of what an
 * idle daemon cost; here the daemon's own timers tell, under the same names and without the ten milliseconds.
 */
export class NodeMetrics {
  readonly #lateness = createHistogram({ lowest: 1, highest: MICROS_MAX, figures: 2 });
  readonly #figures: ReadonlyMap<Gauge, () => number>;

  constructor(registry: Registry) {
    collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: NEVER_MS });
    for (const name of SAMPLED) registry.removeSingleMetric(name);
    const gauge = (figure: string, help: string): Gauge =>
      new Gauge({ name: `nodejs_eventloop_lag_${figure}_seconds`, help, registers: [registry] });
    const lateness = this.#lateness;
    this.#figures = new Map([
      [gauge('max', 'How late a timer of the process came at most since the last scrape.'), () => lateness.max],
      [gauge('mean', 'How late its timers came in the mean.'), () => lateness.mean],
      [gauge('p50', 'How late at most half of its timers came.'), () => lateness.percentile(50)],
      [gauge('p90', 'How late at most nine in ten of them came.'), () => lateness.percentile(90)],
      [gauge('p99', 'How late at most 99 in a hundred of them came.'), () => lateness.percentile(99)],
    ]);
  }

  /** A timer came so much later than it was due. */
  late(ms: number): void {
    this.#lateness.record(Math.min(Math.max(1, Math.round(ms * 1_000)), MICROS_MAX));
  }

  /** Sets the gauges for a scrape, and begins anew. Without any timer since the last one they are absent. */
  scrape(): void {
    const unknown = this.#lateness.count === 0;
    for (const [gauge, micros] of this.#figures) {
      if (unknown) gauge.remove();
      else gauge.set(micros() / 1_000_000);
    }
    this.#lateness.reset();
  }
}
