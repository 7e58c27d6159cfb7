import type { RowSnapshot } from '#core/row-reader.ts';

/**
 * Transactions that the stream has shown and no snapshot has yet. A source can show a commit in its stream before its reads show it (its
 * commit waits for a standby), so a read is right at a commit L only under a snapshot that shows every one of these at or below L. They
 * outlive a restart: whoever forgets them takes an old value for the one at L.
 */
export class ShownTransactions {
  readonly #max: number;
  /** In commit order, as they came. */
  readonly #commits = new Map<string, bigint>();
  /** Where it is not known what was shown before: nothing is right until everything that is over then shows. */
  #barrier: RowSnapshot | null = null;
  #isKnown: boolean;

  /** `stored`: as they stood when this ended the last time; null where nobody kept them. */
  constructor(stored: readonly string[] | null, max: number) {
    this.#max = max;
    this.#isKnown = stored !== null;
    // Everything stored stands before whatever the stream shows now.
    for (const id of stored ?? []) this.#commits.set(id, 0n);
  }

  get size(): number {
    return this.#commits.size;
  }

  /** The stream has shown it whole. */
  committed(transactionId: string, commit: bigint): void {
    // At its end: what the stream shows again after a break comes in commit order again.
    this.#commits.delete(transactionId);
    this.#commits.set(transactionId, commit);
    if (this.#commits.size <= this.#max) return;
    this.#commits.clear();
    this.#barrier = null;
    this.#isKnown = false;
  }

  /** Forgets what the snapshot shows. */
  looked(snapshot: RowSnapshot): void {
    for (const id of this.#commits.keys()) if (snapshot.shows(id)) this.#commits.delete(id);
    if (this.#isKnown) return;
    this.#barrier ??= snapshot;
    this.#isKnown = snapshot.showsAllBefore(this.#barrier);
  }

  /** True where a read under the snapshot holds everything that the stream had shown up to `commit`. */
  allowsAt(commit: bigint, snapshot: RowSnapshot): boolean {
    this.looked(snapshot);
    if (!this.#isKnown) return false;
    for (const other of this.#commits.values()) if (other <= commit) return false;
    return true;
  }

  /** Those at or below `commit`, to be stored with a checkpoint there; null where they are not known, or are too many to store. */
  upTo(commit: bigint | null, storedMax: number): readonly string[] | null {
    if (!this.#isKnown) return null;
    const ids = [...this.#commits].filter(([, other]) => commit === null || other <= commit).map(([id]) => id);
    return ids.length > storedMax ? null : ids;
  }
}
