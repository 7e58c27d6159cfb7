import type { LogEnds } from '#core/log.ts';
import type { PartitionStatus } from '../apply/observer.ts';

/** How a consumer comes on, from well to worst. The rules are those of Burrow's evaluator. */
export const consumerStates = ['ok', 'warn', 'stall', 'stop', 'rewind'] as const;
export type ConsumerState = (typeof consumerStates)[number];

/** At two seconds each: a minute. */
const SAMPLES = 30;

type Sample = { readonly offset: number; readonly lag: number; readonly works: boolean };

/** What the last minute says of each partition that this process applies: whether it comes on, not how far behind it is. */
export class ConsumerWindow {
  readonly #samples = new Map<number, Sample[]>();

  /** Called at a fixed interval. A partition that is not known now begins anew. */
  take(partitions: readonly PartitionStatus[], ends: readonly LogEnds[] | null): void {
    const known = new Set<number>();
    for (const { partition, offset, state } of partitions) {
      const end = ends?.[partition]?.end;
      if (offset === null || end === undefined || state === 'fenced') continue;
      known.add(partition);
      const samples = this.#samples.get(partition) ?? [];
      samples.push({ offset, lag: Math.max(0, end - offset), works: state === 'running' });
      if (samples.length > SAMPLES) samples.shift();
      this.#samples.set(partition, samples);
    }
    for (const partition of this.#samples.keys()) if (!known.has(partition)) this.#samples.delete(partition);
  }

  /** Of the worst partition; null until one was watched for long enough, unless all of them have caught up. */
  get state(): ConsumerState | null {
    let worst = -1;
    for (const samples of this.#samples.values()) {
      const state = stateOf(samples);
      if (state === null) return null;
      worst = Math.max(worst, consumerStates.indexOf(state));
    }
    return consumerStates[worst] ?? null;
  }
}

function stateOf(samples: readonly Sample[]): ConsumerState | null {
  const [first] = samples;
  const last = samples.at(-1);
  if (first === undefined || last === undefined) return null;
  if (samples.some(({ lag }) => lag === 0)) return 'ok';
  if (samples.some(({ offset }) => offset > last.offset)) return 'rewind';
  if (samples.length < SAMPLES) return null;
  if (first.offset === last.offset) return samples.some(({ works }) => works) ? 'stall' : 'stop';
  const falls = samples.some(({ lag }, index) => lag < (samples[index - 1]?.lag ?? 0));
  return falls ? 'ok' : 'warn';
}
