import { controlKeys, type RequestRow } from '#core/control-rows.ts';
import type { ControlRow } from '#core/control.ts';
import { backoffMs } from '#core/errors.ts';
import { parseRowKey, type RowKey } from '#core/key.ts';
import type { MonoMs } from '#core/position.ts';
import { keysOfOneRequest, type RowsRequestArgs } from '#core/rows-request.ts';
import type { Sequence } from '#core/sequence.ts';
import type { ApplyDeps } from './deps.ts';

/** A partition that is held here. */
export type HeldPartition = {
  readonly partition: number;
  /** Everything at or below it took effect or is parked; null before the first. */
  readonly watermark: Sequence | null;
  /** Keys that are parked because a partial image found no row, with the newest sequence that did not take effect. */
  readonly awaiting: ReadonlyMap<RowKey, Sequence>;
};

/** Keys that were asked for in vain, so often. */
export type Tries = ReadonlyMap<RowKey, { readonly failures: number; readonly notBeforeMs: number }>;

export type RepairStep =
  | { readonly tag: 'wait' }
  | { readonly tag: 'ask'; readonly args: RowsRequestArgs }
  /** The request is over. `failed`: the keys that it did not release. */
  | { readonly tag: 'over'; readonly failed: readonly RowKey[]; readonly reason: string | null };

const AGAIN_FIRST_MS = 10_000;
const AGAIN_MAX_MS = 600_000;

/**
 * Asks capture to publish anew the rows of keys whose partial image found no row to stand on, without a word from anybody. There is at most
 * one request at a time for each partition of the sink, under a name of its own, so that whoever holds the partition finds what an
 * earlier holder has asked for. The parked keys stand in the dead-letter queue; all else is forgotten with the process, which then
 * asks once more than it had to.
 */
export class PointRepairs {
  readonly #deps: ApplyDeps;
  readonly #tries = new Map<RowKey, { readonly failures: number; readonly notBeforeMs: number }>();

  constructor(deps: ApplyDeps) {
    this.#deps = deps;
  }

  /** `requests`: every request of the pipeline as it stands. Errors: those of the control store. */
  async look(requests: readonly ControlRow[], held: readonly HeldPartition[], signal: AbortSignal): Promise<void> {
    const { pipeline, sinkName, control, runtime, logger } = this.#deps;
    this.#forget(held);
    for (const one of held) {
      const key = controlKeys.repair(pipeline, sinkName, one.partition);
      const found = requests.find((row) => row.key === key) ?? null;
      const request = found === null ? null : (found.value as RequestRow);
      const step = repairStep({ held: one, sink: sinkName, request, tries: this.#tries, nowMs: runtime.monotonicMs() });
      // A conflict: another worker that takes itself for the holder was first, which the next look shows.
      if (step.tag === 'ask') {
        const value: RequestRow = { kind: 'rows', args: step.args, state: 'pending', result: null };
        await control.swap({ key, value, expected: null }, signal);
      } else if (step.tag === 'over' && found !== null) {
        await control.remove(key, found.version, signal);
        this.#failed(step.failed);
        if (step.reason !== null) {
          const { partition } = one;
          logger.log('warn', 'parked keys could not be repaired by themselves: see `causeway dlq list`', {
            partition,
            reason: step.reason,
          });
        }
      }
    }
  }

  #failed(keys: readonly RowKey[]): void {
    const { runtime } = this.#deps;
    for (const key of keys) {
      const failures = (this.#tries.get(key)?.failures ?? 0) + 1;
      const afterMs = backoffMs({ attempt: failures - 1, firstMs: AGAIN_FIRST_MS, maxMs: AGAIN_MAX_MS, random: runtime.random() });
      this.#tries.set(key, { failures, notBeforeMs: runtime.monotonicMs() + afterMs });
    }
  }

  #forget(held: readonly HeldPartition[]): void {
    for (const key of this.#tries.keys()) if (!held.some(({ awaiting }) => awaiting.has(key))) this.#tries.delete(key);
  }
}

/** What is to be done for a partition, with its request as it stands now; null where there is none. */
export function repairStep(of: {
  readonly held: HeldPartition;
  readonly sink: string;
  readonly request: RequestRow | null;
  readonly tries: Tries;
  readonly nowMs: MonoMs;
}): RepairStep {
  const { held, request } = of;
  if (request === null) return ask(of);
  if (request.state === 'pending') return { tag: 'wait' };
  const { keys = [], answer } = request.args as Partial<RowsRequestArgs>;
  const parked = keys.filter((key) => held.awaiting.has(key));
  if (request.state === 'failed' || answer === undefined) return { tag: 'over', failed: parked, reason: request.result };
  // What was published stands before this watermark, and no key is released before it was read.
  if (held.watermark === null || held.watermark < answer.high) return { tag: 'wait' };
  // A newer image parked the others again: that is no failure of the repair.
  const failed = parked.filter((key) => (held.awaiting.get(key) ?? '') <= answer.high);
  return { tag: 'over', failed, reason: failed.length === 0 ? null : 'their rows were published and did not take effect' };
}

function ask(of: { readonly held: HeldPartition; readonly sink: string; readonly tries: Tries; readonly nowMs: MonoMs }): RepairStep {
  const { held, sink, tries, nowMs } = of;
  const due = [...held.awaiting.keys()].filter((key) => (tries.get(key)?.notBeforeMs ?? 0) <= nowMs);
  const [first] = due;
  if (first === undefined) return { tag: 'wait' };
  const { table } = parseRowKey(first);
  const keys = keysOfOneRequest(due.filter((key) => parseRowKey(key).table === table));
  return { tag: 'ask', args: { table, sink, keys, purpose: 'publish', salt: '', digests: [] } };
}
