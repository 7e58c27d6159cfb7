import type { RowKey } from '#core/key.ts';
import type { LetterRelease, LetterToPark } from '#core/log.ts';
import type { Sequence } from '#core/sequence.ts';

/**
 * What a record of the dead-letter topic says, by its Kafka key alone. Compaction keeps the newest record of each Kafka key, and a
 * worker that was fenced acts late: so a key names one letter, or one release of it, and its meaning never depends on what stands
 * before or behind it.
 *
 *     ["p", row key, sequence]               the letter of that sequence is parked; its record is the value
 *     ["r", row key, sequence, at, replay]   what took effect at the progress `at`, or that replay, released the letter of that sequence
 *
 * Without a value either is taken back.
 */
export type Mark =
  | { readonly kind: 'p'; readonly key: RowKey; readonly sequence: Sequence }
  | { readonly kind: 'r'; readonly key: RowKey; readonly sequence: Sequence; readonly at: number; readonly replay: number };

/** The newest letter of a row, with the offset of its record in the topic. */
export type FoldedLetter = {
  readonly key: RowKey;
  readonly sequence: Sequence;
  readonly offset: number;
  /** Null while it is parked. */
  readonly released: { readonly at: number; readonly replay: number } | null;
};

type Row = { readonly letters: Map<Sequence, number>; readonly releases: Map<string, Extract<Mark, { kind: 'r' }>> };

export function markText(mark: Mark): string {
  const { kind, key, sequence } = mark;
  return JSON.stringify(kind === 'p' ? [kind, key, sequence] : [kind, key, sequence, mark.at, mark.replay]);
}

/** Null for what is none of ours. */
export function parseMark(text: string): Mark | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return null;
  }
  if (!Array.isArray(parsed)) return null;
  const [kind, key, sequence, at, replay] = parsed as readonly unknown[];
  if (typeof key !== 'string' || typeof sequence !== 'string') return null;
  const of = { key: key as RowKey, sequence: sequence as Sequence };
  if (kind === 'p' && parsed.length === 3) return { kind, ...of };
  return kind === 'r' && parsed.length === 5 && typeof at === 'number' && typeof replay === 'number' ? { kind, ...of, at, replay } : null;
}

/** One partition of the dead-letter topic, folded in the order of its offsets. */
export class LetterFold {
  readonly #rows = new Map<RowKey, Row>();

  add(mark: Mark, record: { readonly offset: number; readonly isRemoved: boolean }): void {
    const row = this.#rows.get(mark.key) ?? { letters: new Map(), releases: new Map() };
    this.#rows.set(mark.key, row);
    if (mark.kind === 'p') {
      if (record.isRemoved) row.letters.delete(mark.sequence);
      else row.letters.set(mark.sequence, record.offset);
    } else if (record.isRemoved) row.releases.delete(markText(mark));
    else row.releases.set(markText(mark), mark);
    if (row.letters.size === 0 && row.releases.size === 0) this.#rows.delete(mark.key);
  }

  /** The newest letter of the row, if it has one. */
  letter(key: RowKey): FoldedLetter | null {
    const row = this.#rows.get(key);
    let newest: { readonly sequence: Sequence; readonly offset: number } | null = null;
    for (const [sequence, offset] of row?.letters ?? []) if (newest === null || sequence > newest.sequence) newest = { sequence, offset };
    if (row === undefined || newest === null) return null;
    let released: FoldedLetter['released'] = null;
    for (const release of row.releases.values()) if (release.sequence >= newest.sequence) released = greater(release, released);
    return { key, ...newest, released };
  }

  *all(): Generator<FoldedLetter> {
    for (const key of this.#rows.keys()) {
      const letter = this.letter(key);
      if (letter !== null) yield letter;
    }
  }

  /** Marks of the row that have to go before, or with, a letter that is parked; null where it is passed over. */
  toPark({ key, sequence, again = false }: LetterToPark): readonly Mark[] | null {
    const before = this.letter(key);
    if (before !== null && before.sequence > sequence) return null;
    if (before?.sequence === sequence && before.released !== null && !again) return null;
    // Releases of this sequence or a later one would hide it; older ones, and older letters, mean nothing beside it.
    return this.#marks(key).filter((mark) => mark.kind === 'r' || mark.sequence < sequence);
  }

  /** What a release writes and what it takes back; null where it is passed over. */
  toRelease({ key, sequence, at, replay }: LetterRelease): { readonly written: Mark | null; readonly removed: readonly Mark[] } | null {
    const letter = this.letter(key);
    if (letter === null || letter.sequence > sequence) return null;
    if (at === null) return { written: null, removed: this.#marks(key) };
    const released = greater({ at, replay }, letter.released);
    if (released.at === letter.released?.at && released.replay === letter.released.replay) return null;
    const written: Mark = { kind: 'r', key, sequence: letter.sequence, ...released };
    return { written, removed: this.#marks(key).filter((mark) => mark.kind === 'r') };
  }

  /**
   * Everything of rows whose newest letter was released before `start`, if by a replay by one of the first `replays`, and releases of no
   * letter at all.
   */
  *forgotten({ start, replays }: { readonly start: number; readonly replays: number }): Generator<readonly Mark[]> {
    for (const key of this.#rows.keys()) {
      const letter = this.letter(key);
      const released = letter?.released ?? null;
      const isOver = released !== null && released.at < start && released.replay <= replays;
      if (letter === null || isOver) yield this.#marks(key);
    }
  }

  /** Letters first: a letter that lost its release would be parked again. */
  #marks(key: RowKey): readonly Mark[] {
    const row = this.#rows.get(key);
    if (row === undefined) return [];
    const letters = [...row.letters.keys()].map((sequence): Mark => ({ kind: 'p', key, sequence }));
    return [...letters, ...row.releases.values()];
  }
}

type Released = NonNullable<FoldedLetter['released']>;

/** Of two releases of one letter, what is greater in either. */
function greater(a: Released, b: Released | null): Released {
  return { at: Math.max(a.at, b?.at ?? 0), replay: Math.max(a.replay, b?.replay ?? 0) };
}
