import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fencingTokenOf } from '#core/position.ts';
import type { ChangeRecord, Envelope } from '#core/record.ts';
import { isPartial, mergePartial, type Row, type Value } from '#core/value.ts';
import { Fold, type FoldOutcome } from '../../src/apply/coalesce.ts';
import { change, keyOf, schema } from './stage.ts';

type Event = { readonly id: string; readonly commit: number; readonly row: Row | null };
type Register = { readonly commit: number; readonly row: Row | null };

const bytes = new Uint8Array(1);

function eventOf(event: Event): { schema: typeof schema; record: Envelope & ChangeRecord; bytes: Uint8Array } {
  const bare = change({ id: event.id, commit: event.commit, ...(event.row === null ? {} : { row: event.row }) }) as ChangeRecord;
  return { schema, record: { ...bare, generation: fencingTokenOf(1), holder: 'h', counter: 1 }, bytes };
}

/** What a sink does with one event, as DESIGN's section 3 says. Returns false for a partial image without a live row. */
function applyOne(sink: Map<string, Register>, event: Event): boolean {
  const stored = sink.get(event.id);
  if (stored !== undefined && stored.commit >= event.commit) return true;
  if (event.row === null || !isPartial(event.row)) {
    sink.set(event.id, { commit: event.commit, row: event.row });
    return true;
  }
  if (stored === undefined || stored.row === null) return false;
  sink.set(event.id, { commit: event.commit, row: mergePartial(stored.row, event.row) });
  return true;
}

/** Gives each event to the fold, and what the fold holds to the sink where it asks for that, or where a cut is drawn. */
function throughFold(sink: Map<string, Register>, events: readonly Event[], cuts: ReadonlySet<number>): void {
  const fold = new Fold();
  const flush = (): void => {
    for (const { change: folded } of fold.values()) {
      const id = (JSON.parse(folded.key) as string[])[1] ?? '';
      const commit = Number.parseInt(folded.sequence.slice(8, 24), 16);
      applyOne(sink, { id, commit, row: folded.tag === 'delete' ? null : folded.row });
    }
    fold.clear();
  };
  for (const [index, event] of events.entries()) {
    if (cuts.has(index)) flush();
    let outcome: FoldOutcome = fold.add(eventOf(event));
    if (outcome === 'split') {
      flush();
      outcome = fold.add(eventOf(event));
    }
    expect(outcome).not.toBe('split');
  }
  flush();
}

const value = fc.constantFrom<Value>('a', 'b', null);
const partOf = fc.record({ a: fc.option(value, { nil: undefined }), big: fc.option(value, { nil: undefined }) });

/** A history of one key as a source can have it: an insert where there is no row, updates and deletes where there is one. */
const history = (id: string): fc.Arbitrary<Event[]> =>
  fc.array(fc.tuple(fc.constantFrom('whole', 'partial', 'delete'), partOf), { minLength: 1, maxLength: 8 }).map((draws) => {
    let isLive = false;
    return draws.map(([kind, { a, big }], index) => {
      const isDelete = kind === 'delete' && isLive;
      const isPart = kind === 'partial' && isLive;
      isLive = !isDelete;
      const commit = index + 1;
      if (isDelete) return { id, commit, row: null };
      return { id, commit, row: isPart ? [id, a, big] : [id, a ?? null, big ?? null] };
    });
  });

/** Two histories mixed in commit order, then sent again from some place, as a new generation does. */
const sent = fc.tuple(history('1'), history('2'), fc.nat(16), fc.nat(16)).map(([one, two, from, back]) => {
  const mixed = [...one, ...two].sort((a, b) => a.commit - b.commit || a.id.localeCompare(b.id));
  const until = Math.min(from, mixed.length);
  return [...mixed.slice(0, until), ...mixed.slice(Math.max(0, until - back))];
});

describe('folding', () => {
  it('leaves what events applied one by one leave, wherever batches are cut and however much is sent again', () => {
    fc.assert(
      fc.property(sent, fc.uniqueArray(fc.nat(32)), (events, cuts) => {
        const model = new Map<string, Register>();
        for (const event of events) applyOne(model, event);
        const sink = new Map<string, Register>();
        throughFold(sink, events, new Set(cuts));
        expect([...sink].sort()).toEqual([...model].sort());
      }),
      { numRuns: 2_000, seed: 7 },
    );
  });

  it('of whole images ends with the newest of each key in any order', () => {
    const wholes = fc.array(fc.record({ id: fc.constantFrom('1', '2'), commit: fc.integer({ min: 1, max: 9 }), deleted: fc.boolean() }));
    fc.assert(
      fc.property(wholes, fc.uniqueArray(fc.nat(20)), (drawn, cuts) => {
        const events = drawn.map(({ id, commit, deleted }): Event => ({ id, commit, row: deleted ? null : [id, String(commit), null] }));
        const unique = events.filter(
          (event, index) => events.findIndex(({ id, commit }) => id === event.id && commit === event.commit) === index,
        );
        const sink = new Map<string, Register>();
        throughFold(sink, unique, new Set(cuts));
        for (const id of ['1', '2']) {
          const newest = unique.filter((event) => event.id === id).sort((a, b) => b.commit - a.commit)[0];
          expect(sink.get(id)?.commit).toBe(newest?.commit);
          expect(sink.get(id)?.row).toEqual(newest?.row);
        }
      }),
      { numRuns: 500, seed: 8 },
    );
  });

  it('never puts a partial image on a delete: that takes two writes', () => {
    const fold = new Fold();
    expect(fold.add(eventOf({ id: '1', commit: 1, row: null }))).toBe('held');
    expect(fold.add(eventOf({ id: '1', commit: 2, row: ['1', 'x', undefined] }))).toBe('split');
    expect(fold.get(keyOf('1'))?.change).toMatchObject({ tag: 'delete' });
  });

  it('keeps the record as it stood, unless several were merged', () => {
    const fold = new Fold();
    fold.add(eventOf({ id: '1', commit: 1, row: ['1', 'x', 'y'] }));
    expect(fold.get(keyOf('1'))?.bytes).toBe(bytes);
    fold.add(eventOf({ id: '1', commit: 2, row: ['1', 'z', undefined] }));
    expect(fold.get(keyOf('1'))).toMatchObject({ bytes: null, absorbed: ['update'], change: { tag: 'upsert', row: ['1', 'z', 'y'] } });
  });
});
