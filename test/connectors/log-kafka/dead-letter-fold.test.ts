import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RowKey } from '#core/key.ts';
import type { LetterRelease } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import type { Sequence } from '#core/sequence.ts';
import { LetterFold, type Mark, markText, parseMark } from '../../../connectors/log-kafka/dead-letter-fold.ts';

const row = (id: string): RowKey => `["t","${id}"]` as RowKey;
const at = (commit: number): Sequence => String(commit).padStart(48, '0') as Sequence;
const p = (id: string, commit: number): Mark => ({ kind: 'p', key: row(id), sequence: at(commit) });
const r = (id: string, commit: number, progress: number, replay = 0): Mark => ({
  kind: 'r',
  key: row(id),
  sequence: at(commit),
  at: progress,
  replay,
});
/** What a worker asks for. */
const release = (id: string, commit: number, progress: number | null, replay = 0): LetterRelease => ({
  key: row(id),
  sequence: at(commit),
  at: progress as Offset | null,
  replay,
});

type Written = { readonly mark: Mark; readonly isRemoved: boolean };
const put = (mark: Mark): Written => ({ mark, isRemoved: false });
const gone = (mark: Mark): Written => ({ mark, isRemoved: true });

function folded(records: readonly Written[], kept: (index: number) => boolean = () => true): LetterFold {
  const fold = new LetterFold();
  for (const [offset, { mark, isRemoved }] of records.entries()) if (kept(offset)) fold.add(mark, { offset, isRemoved });
  return fold;
}

/** What of each row matters: its newest letter and whether that is released. */
function meaning(fold: LetterFold): readonly unknown[] {
  return [...fold.all()].toSorted((a, b) => (a.key < b.key ? -1 : 1));
}

function letterToPark(id: string, commit: number, again = false) {
  return { key: row(id), sequence: at(commit), code: 'value_refused', reason: '', record: null, committedAtMicros: 0, again };
}

describe('the fold of dead letters', () => {
  test('of a row the newest letter counts, wherever it stands', () => {
    expect(folded([put(p('1', 2)), put(p('1', 1))]).letter(row('1'))).toMatchObject({ sequence: at(2), offset: 0, released: null });
  });

  test('a release hides its letter also where a late copy of it comes behind', () => {
    const fold = folded([put(p('1', 1)), put(r('1', 1, 5)), put(p('1', 1))]);
    expect(fold.letter(row('1'))).toMatchObject({ released: { at: 5, replay: 0 } });
    expect(folded([put(p('1', 1)), put(r('1', 1, 5)), put(p('1', 2))]).letter(row('1'))).toMatchObject({
      sequence: at(2),
      released: null,
    });
  });

  test('of several releases what is furthest counts, of the progress and of the replays', () => {
    const releases = [put(r('1', 1, 9, 1)), put(r('1', 1, 3, 2))];
    for (const inOrder of [releases, releases.toReversed()]) {
      expect(folded([put(p('1', 1)), ...inOrder]).letter(row('1'))?.released).toEqual({ at: 9, replay: 2 });
    }
  });

  test('what compaction leaves means the same', () => {
    const marks = fc.oneof(
      fc.record({ kind: fc.constant('p'), key: fc.constantFrom(row('1'), row('2')), sequence: fc.constantFrom(at(1), at(2), at(3)) }),
      fc.record({
        kind: fc.constant('r'),
        key: fc.constantFrom(row('1'), row('2')),
        sequence: fc.constantFrom(at(1), at(2), at(3)),
        at: fc.constantFrom(3, 5),
        replay: fc.constantFrom(0, 1),
      }),
    );
    const records = fc.array(fc.record({ mark: marks, isRemoved: fc.boolean() }), { maxLength: 30 });
    fc.assert(
      fc.property(records, fc.func(fc.boolean()), (written, cleaned) => {
        const newest = new Map(written.map(({ mark }, offset) => [markText(mark), offset]));
        // Compaction may take any record that is not the newest of its key, and a removal once nothing is left for it to remove.
        const isNewest = (offset: number): boolean => newest.get(markText((written[offset] as Written).mark)) === offset;
        const older = folded(written, (offset) => isNewest(offset) || !cleaned(offset));
        const oldest = folded(written, (offset) => isNewest(offset) && written[offset]?.isRemoved === false);
        expect(meaning(older)).toEqual(meaning(folded(written)));
        expect(meaning(oldest)).toEqual(meaning(folded(written)));
      }),
    );
  });

  test('a letter that is older than the newest, or that was released, is passed over, unless the sink lost what released it', () => {
    const fold = folded([put(p('1', 2)), put(p('2', 2)), put(r('2', 2, 5))]);
    expect(fold.toPark(letterToPark('1', 1))).toBeNull();
    expect(fold.toPark(letterToPark('1', 2))).toEqual([]);
    expect(fold.toPark(letterToPark('2', 2))).toBeNull();
    expect(fold.toPark(letterToPark('2', 2, true))).toEqual([r('2', 2, 5)]);
    expect(fold.toPark(letterToPark('2', 3))).toEqual([p('2', 2), r('2', 2, 5)]);
  });

  test('a release names the letter that stands, not what its worker knew: a later mark of the key is not hidden by it', () => {
    const fold = folded([put(p('1', 1))]);
    const change = fold.toRelease(release('1', 4, 7));
    expect(change).toEqual({ written: r('1', 1, 7), removed: [] });
    fold.add(r('1', 1, 7), { offset: 1, isRemoved: false });
    fold.add(p('1', 3), { offset: 2, isRemoved: false });
    expect(fold.letter(row('1'))).toMatchObject({ sequence: at(3), released: null });
  });

  test('a release of a newer letter than it knew of, of none, or that says less than another one, is passed over', () => {
    const fold = folded([put(p('1', 2)), put(p('2', 2)), put(r('2', 2, 5))]);
    expect(fold.toRelease(release('1', 1, null))).toBeNull();
    expect(fold.toRelease(release('3', 1, null))).toBeNull();
    expect(fold.toRelease(release('2', 2, 4))).toBeNull();
    expect(fold.toRelease(release('2', 2, 4, 1))).toEqual({ written: r('2', 2, 5, 1), removed: [r('2', 2, 5)] });
    expect(fold.toRelease(release('2', 2, 6))).toEqual({ written: r('2', 2, 6), removed: [r('2', 2, 5)] });
    expect(fold.toRelease(release('2', 2, null))).toEqual({ written: null, removed: [p('2', 2), r('2', 2, 5)] });
  });

  test('what nobody can ask for any more is forgotten: the letter first, then what released it', () => {
    const fold = folded([
      put(p('1', 1)),
      put(r('1', 1, 4)),
      put(p('2', 1)),
      put(r('2', 1, 5)),
      put(p('3', 1)),
      put(r('4', 1, 9)),
      gone(p('4', 1)),
      put(p('5', 1)),
      put(r('5', 1, 4, 2)),
      put(p('6', 1)),
      put(r('6', 1, 4, 3)),
    ]);
    const forgotten = [...fold.forgotten({ start: 5, replays: 2 })];
    expect(forgotten).toEqual([[p('1', 1), r('1', 1, 4)], [r('4', 1, 9)], [p('5', 1), r('5', 1, 4, 2)]]);
  });

  test('keys are read back, and those of others are passed over', () => {
    for (const mark of [p('é"', 1), r('1', 2, 3, 4)]) expect(parseMark(markText(mark))).toEqual(mark);
    for (const text of ['', '["h"]', '["p","k"]', '["r","k","s"]', '["r","k","s",1]', '["p",1,"s"]', '{"0":"p"}', '["x","k","s"]'])
      expect(parseMark(text)).toBeNull();
  });
});
