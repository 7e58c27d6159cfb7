import { CausewayError } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import type { DeadLetter, DeadLetters, LetterRelease, LetterToPark } from '#core/log.ts';
import { isReleasedSince, mapIn, type MemoryLogStore, type Released } from './memory-log-store.ts';

/** A call of who holds a partition's letters: its holder's token, and its number among the calls of that holder. */
export type LetterCall = { readonly token: number; readonly call: number };

/** The effects of the calls, at once: what was sent earlier may have its effect later. */
export class LetterEffects {
  readonly #store: MemoryLogStore;
  readonly #consumer: string;

  constructor(store: MemoryLogStore, consumer: string) {
    this.#store = store;
    this.#consumer = consumer;
  }

  /** Returns the token. */
  take(partition: number): number {
    const token = (this.#holders().get(partition)?.token ?? 0) + 1;
    this.#holders().set(partition, { token, call: 0 });
    return token;
  }

  park(partition: number, by: LetterCall, letters: readonly LetterToPark[]): void {
    this.#admit(partition, by);
    const [parked, released] = [this.parked(partition), this.released(partition)];
    for (const letter of letters) {
      const { again = false, ...kept } = letter;
      const before = parked.get(letter.key);
      const gone = released.get(letter.key)?.letter;
      if (before !== undefined && before.sequence > letter.sequence) continue;
      if (gone !== undefined && (gone.sequence > letter.sequence || (gone.sequence === letter.sequence && !again))) continue;
      released.delete(letter.key);
      parked.set(letter.key, kept);
    }
  }

  release(partition: number, by: LetterCall, releases: readonly LetterRelease[]): void {
    this.#admit(partition, by);
    const [parked, released] = [this.parked(partition), this.released(partition)];
    for (const { key, sequence, at, replay } of releases) {
      const before = released.get(key);
      const letter = parked.get(key) ?? before?.letter;
      if (letter === undefined || letter.sequence > sequence) continue;
      parked.delete(key);
      if (at === null) released.delete(key);
      else released.set(key, { letter, at: Math.max(at, before?.at ?? 0), replay: Math.max(replay, before?.replay ?? 0) });
    }
  }

  forget(partition: number, by: LetterCall, replays: number): void {
    this.#admit(partition, by);
    const released = this.released(partition);
    const { start } = this.#store.partition(partition);
    for (const [key, { at, replay }] of released) if (at < start && replay <= replays) released.delete(key);
  }

  parked(partition: number): Map<RowKey, DeadLetter> {
    const partitions = mapIn(this.#store.letters, this.#consumer, () => new Map<number, Map<RowKey, DeadLetter>>());
    return mapIn(partitions, partition, () => new Map<RowKey, DeadLetter>());
  }

  released(partition: number): Map<RowKey, Released> {
    const partitions = mapIn(this.#store.released, this.#consumer, () => new Map<number, Map<RowKey, Released>>());
    return mapIn(partitions, partition, () => new Map<RowKey, Released>());
  }

  #holders(): Map<number, LetterCall> {
    return mapIn(this.#store.letterHolders, this.#consumer, () => new Map<number, LetterCall>());
  }

  #admit(partition: number, by: LetterCall): void {
    const last = this.#holders().get(partition);
    if (last?.token !== by.token || last.call >= by.call) {
      throw new CausewayError('partition_fenced', 'another worker took the dead letters of the partition');
    }
    this.#holders().set(partition, by);
  }
}

export function memoryDeadLetters(store: MemoryLogStore, consumer: string): DeadLetters {
  const effects = new LetterEffects(store, consumer);
  return {
    async take(partition, signal) {
      await turn(signal);
      const token = effects.take(partition);
      let calls = 0;
      const next = (): LetterCall => ({ token, call: (calls += 1) });
      return {
        async park(letters, signal) {
          const by = next();
          await turn(signal);
          effects.park(partition, by, letters);
        },
        async release(releases, signal) {
          const by = next();
          await turn(signal);
          effects.release(partition, by, releases);
        },
        async forget(replays, signal) {
          const by = next();
          await turn(signal);
          effects.forget(partition, by, replays);
        },
      };
    },
    async *readReleased(partition, since, signal) {
      for (const released of [...effects.released(partition).values()]) {
        await turn(signal);
        if (isReleasedSince(released, since)) yield { ...released.letter, replay: released.replay };
      }
    },
    async *read(partition, signal) {
      for (const letter of [...effects.parked(partition).values()]) {
        await turn(signal);
        yield letter;
      }
    },
  };
}

/** One turn, so that nothing here is faster than a promise. */
async function turn(signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await Promise.resolve();
  signal.throwIfAborted();
}
