import type { Runtime } from '#core/runtime.ts';

/** What was not met for so long is over: met again it is news. */
const OVER_AFTER_MS = 60_000;
/** What goes on is said again this seldom; the status and the metrics show it all the time. */
const AGAIN_AFTER_MS = 300_000;

type Met = { readonly text: string; saidMs: number; metMs: number };

/** Decides which of many tries is worth a log line: the first one, each that fails otherwise, and now and then one more. */
export class Reminder {
  readonly #runtime: Pick<Runtime, 'monotonicMs'>;
  readonly #met = new Map<string, Met>();

  constructor(runtime: Pick<Runtime, 'monotonicMs'>) {
    this.#runtime = runtime;
  }

  /** `subject` is what is tried, of a small closed set; `text` how it failed. */
  isDue(subject: string, text: string): boolean {
    const nowMs = this.#runtime.monotonicMs();
    const met = this.#met.get(subject);
    const isNews = met === undefined || met.text !== text || nowMs - met.metMs > OVER_AFTER_MS;
    if (isNews) {
      this.#met.set(subject, { text, saidMs: nowMs, metMs: nowMs });
      return true;
    }
    met.metMs = nowMs;
    if (nowMs - met.saidMs < AGAIN_AFTER_MS) return false;
    met.saidMs = nowMs;
    return true;
  }
}
