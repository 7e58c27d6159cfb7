import { compareSinkProgress, type Sink, type SinkProgress } from '#core/sink.ts';

/**
 * What the sink was known to have stored of each partition, whichever process works on it. Progress never falls, so an answer that is
 * lower than what was known before the question was asked shows that the sink went back: also where the worker that would have
 * been told has lost its partition to another process since.
 */
export class SeenProgress {
  readonly #newest = new Map<number, SinkProgress>();
  /** Partitions that a sink that went back has not confirmed since: what their worker here takes for done may not be so. */
  readonly #doubtful = new Set<number>();
  #lost = false;

  at(partition: number): SinkProgress | null {
    return this.#newest.get(partition) ?? null;
  }

  /** The sink has stored it. */
  confirmed(partition: number, progress: SinkProgress): void {
    const known = this.at(partition);
    if (known === null || compareSinkProgress(progress, known) > 0) this.#newest.set(partition, progress);
  }

  /** The sink has `now`; `before` was known when it was asked. */
  answered(partition: number, { before, now }: { readonly before: SinkProgress | null; readonly now: SinkProgress | null }): void {
    const isLost = before !== null && (now === null || compareSinkProgress(now, before) < 0);
    if (isLost) this.lost(partition);
    if (now !== null) this.confirmed(partition, now);
  }

  /** The sink went back, and nothing is known of the partition any more. */
  lost(partition: number): void {
    this.#lost = true;
    // A sink goes back as a whole, and a batch can be lost without its progress: that was from before it.
    for (const known of this.#newest.keys()) this.#doubtful.add(known);
    this.#doubtful.add(partition);
    this.#newest.delete(partition);
  }

  /** Its worker here goes on from what the sink has now, or the sink has confirmed what the worker takes for done. */
  taken(partition: number): void {
    this.#doubtful.delete(partition);
  }

  isDoubtful(partition: number): boolean {
    return this.#doubtful.has(partition);
  }

  /** True, once, where the sink was found to have gone back. */
  takeLoss(): boolean {
    const lost = this.#lost;
    this.#lost = false;
    return lost;
  }

  async read(sink: Sink, signal: AbortSignal): Promise<ReadonlyMap<number, SinkProgress>> {
    const before = new Map(this.#newest);
    const stored = await sink.progress(signal);
    for (const partition of new Set([...before.keys(), ...stored.keys()])) {
      this.answered(partition, { before: before.get(partition) ?? null, now: stored.get(partition) ?? null });
    }
    return stored;
  }
}
