import type { MonoMs, WallMs } from './position.ts';

/** The only door to time and chance. The simulator gives another one, so that a seed replays everything. */
export interface Runtime {
  /** For people and for log lines. */
  wallMs(): WallMs;
  /** For deadlines and durations. */
  monotonicMs(): MonoMs;
  /** Rejects with the signal's reason as soon as it aborts. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  /** In [0, 1). */
  random(): number;
}

/**
 * How long until the next multiple of `periodMs` on the process's clock, and at least a tenth of a period: what is looked at now and then is
 * looked at in one wake-up, and wake-ups are most of what an idle process costs.
 */
export function untilBeatMs(periodMs: number, nowMs: MonoMs): number {
  const restMs = periodMs - (nowMs % periodMs);
  return Math.ceil(restMs < periodMs / 10 ? restMs + periodMs : restMs);
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Fields of a log line: identifiers, codes, counts, positions. Never a row's value, a key or a credential. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

export interface Logger {
  log(level: LogLevel, message: string, fields?: LogFields): void;
  /** A logger that adds these fields to each line. */
  with(fields: LogFields): Logger;
}
