import type { EpochMicros } from '#core/position.ts';
import type { Runtime } from '#core/runtime.ts';

/**
 * The source's clock as heartbeats showed it, carried on by the local monotonic clock. Lag measured by it does not change when
 * the host's own clock is wrong or is set.
 */
export class SourceTime {
  readonly #runtime: Pick<Runtime, 'wallMs' | 'monotonicMs'>;
  #monotonicToSourceMicros: number | null = null;
  #skewMs: number | null = null;

  constructor(runtime: Pick<Runtime, 'wallMs' | 'monotonicMs'>) {
    this.#runtime = runtime;
  }

  /** `offsetMicros` is the source's clock minus the local wall clock, as of now; null forgets it. */
  observe(offsetMicros: number | null): void {
    this.#skewMs = offsetMicros === null ? null : -offsetMicros / 1_000;
    this.#monotonicToSourceMicros =
      offsetMicros === null ? null : this.#runtime.wallMs() * 1_000 + offsetMicros - this.#runtime.monotonicMs() * 1_000;
  }

  /** Local wall clock minus the source's. */
  get skewMs(): number | null {
    return this.#skewMs;
  }

  /** The source's clock now. */
  now(): EpochMicros | null {
    if (this.#monotonicToSourceMicros === null) return null;
    return Math.round(this.#runtime.monotonicMs() * 1_000 + this.#monotonicToSourceMicros) as EpochMicros;
  }

  /** How long ago that was on the source's clock; null while no heartbeat was answered. Never negative. */
  secondsSince(then: EpochMicros): number | null {
    const now = this.now();
    return now === null ? null : Math.max(0, (now - then) / 1_000_000);
  }
}
