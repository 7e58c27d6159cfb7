// The lag as a user would measure it: a row is written at the source and looked for at the copy, by the same clock.
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';

const sendEveryMs = 50;
const lookEveryMs = 20;

export class Pulse {
  readonly #sentAtMs = new Map<number, number>();
  #lagsMs: number[] = [];
  #arrived = 0;
  #sent = 0;

  /** Writes a row every 50 ms until the signal. */
  async send(source: pg.Client, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#sent += 1;
      await source.query('INSERT INTO shop.pulse (id) VALUES ($1)', [this.#sent]);
      this.#sentAtMs.set(this.#sent, performance.now());
      await pause(sendEveryMs, signal);
    }
  }

  /** Looks for the newest row until the signal. The table appears with the daemon's first start. */
  async look(sink: pg.Client, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const newest = await sink.query<{ id: string | null }>('SELECT max(id) AS id FROM shop.pulse').catch(() => undefined);
      const nowMs = performance.now();
      for (const id = Number(newest?.rows[0]?.id ?? 0); this.#arrived < id;) {
        this.#arrived += 1;
        this.#lagsMs.push(nowMs - (this.#sentAtMs.get(this.#arrived) ?? nowMs));
        this.#sentAtMs.delete(this.#arrived);
      }
      await pause(lookEveryMs, signal);
    }
  }

  /** Lags of the rows that arrived since the last call, in ascending order. */
  take(): number[] {
    const taken = this.#lagsMs.sort((a, b) => a - b);
    this.#lagsMs = [];
    return taken;
  }

  /** Age of the oldest row that has not arrived. */
  behindMs(): number {
    const [oldest] = this.#sentAtMs.values();
    return oldest === undefined ? 0 : performance.now() - oldest;
  }
}

export function quantile(sorted: readonly number[], share: number): number | undefined {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}
