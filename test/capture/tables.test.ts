import { expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import { controlKeys, type TableFingerprint, type TableRow } from '#core/control-rows.ts';
import { positionOf, type Position } from '#core/position.ts';
import { tableIdOf, type TableId } from '#core/schema.ts';
import type { FingerprintVerdict, SourceFacts } from '#core/source.ts';
import { silentObserver } from '../../src/capture/observer.ts';
import { Tables, VERSIONS_KEPT } from '../../src/capture/tables.ts';
import { contractColumn, contractSchema } from '../contract/sink.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { VirtualClock } from '../support/test-runtime.ts';

const signal = new AbortController().signal;
const at = (place: number): Position => positionOf(String(place));
const a = tableIdOf('public', 'a');
const b = tableIdOf('public', 'b');

/** A file that differs and nothing else is a reconcile, unless a truncate was seen; `grave` says otherwise. */
function compare(stored: TableFingerprint, current: TableFingerprint, truncatedBy: string | null = null): FingerprintVerdict {
  if (stored.hash === current.hash) return { tag: 'same' };
  if (current.facts === 'grave') return { tag: 'resync_required', text: 'x' };
  return truncatedBy !== null ? { tag: 'harmless', text: 'x' } : { tag: 'reconcile', text: 'x', onlyFiles: true };
}

type Shown = { readonly table: TableId; readonly hash: string; readonly relation?: string; readonly facts?: unknown };

class Stage {
  readonly control = new MemoryControlStore();
  tables: Tables;
  readonly #snapshotNever: boolean;

  constructor(snapshotNever = false) {
    this.#snapshotNever = snapshotNever;
    this.tables = this.#make();
  }

  /** As a process that starts anew. */
  async restart(): Promise<void> {
    this.tables = this.#make();
    await this.tables.load(signal);
  }

  async start(...shown: readonly Shown[]): Promise<void> {
    await this.tables.startFresh(facts(0, shown), signal);
  }

  async look(head: number, reached: number, ...shown: readonly Shown[]): Promise<void> {
    await this.tables.observe(facts(head, shown), at(reached), signal);
  }

  async row(table: TableId): Promise<TableRow> {
    return (await this.control.get(controlKeys.table('p', table), signal))?.value as TableRow;
  }

  #make(): Tables {
    return new Tables({
      access: { control: this.control, runtime: new VirtualClock(1).runtime, trouble: () => undefined },
      pipeline: 'p',
      observer: silentObserver,
      snapshotNever: () => this.#snapshotNever,
      comparePositions: (one, other) => Number(one) - Number(other),
      compareFingerprints: compare,
    });
  }
}

function facts(head: number, shown: readonly Shown[]): SourceFacts {
  const tables = shown.map(({ table, hash, relation, facts: of = null }) => ({
    schema: contractSchema(table, [contractColumn('id', 'bigint', { tag: 'int', bits: 64, unsigned: false }, false)]),
    fingerprint: { hash, relation, facts: of },
    holdsRows: false,
  }));
  // Only this much is looked at.
  return { tables, refused: [], head: at(head) } as unknown as SourceFacts;
}

test('rows that lie elsewhere after a truncate ask for no reconcile, whichever is seen first', async () => {
  const stage = new Stage();
  await stage.start({ table: a, hash: 'one' });
  stage.tables.truncated([a], { by: '7', position: at(50) });
  await stage.look(60, 60, { table: a, hash: 'two' });
  expect(await stage.row(a)).toMatchObject({ reconcileWanted: 0, fingerprint: { hash: 'two' } });
  // The stream is behind what is looked at: what it shows up to there decides.
  await stage.look(100, 70, { table: a, hash: 'three' });
  await stage.look(110, 80, { table: a, hash: 'three' });
  expect(await stage.row(a)).toMatchObject({ reconcileWanted: 0, fingerprint: { hash: 'two' } });
  stage.tables.truncated([a], { by: '7', position: at(90) });
  await stage.look(120, 105, { table: a, hash: 'three' });
  expect(await stage.row(a)).toMatchObject({ reconcileWanted: 0, fingerprint: { hash: 'three' } });
});

test('rows that lie elsewhere and were never truncated ask for one, as soon as the stream has come so far', async () => {
  const stage = new Stage();
  await stage.start({ table: a, hash: 'one' });
  await stage.look(100, 99, { table: a, hash: 'two' });
  expect(await stage.row(a)).toMatchObject({ reconcileWanted: 0, fingerprint: { hash: 'one' } });
  await stage.look(110, 100, { table: a, hash: 'two' });
  expect(await stage.row(a)).toMatchObject({ reconcileWanted: 1, fingerprint: { hash: 'two' } });
  // A truncate that the stored fingerprint already knows, sent again, explains nothing.
  stage.tables.truncated([a], { by: '7', position: at(105) });
  await stage.look(120, 120, { table: a, hash: 'two' });
  await stage.look(130, 130, { table: a, hash: 'three' });
  expect(await stage.row(a)).toMatchObject({ reconcileWanted: 2, fingerprint: { hash: 'three' } });
  // Each change of place has its own time to be explained in.
  await stage.look(140, 130, { table: a, hash: 'four' });
  await stage.look(150, 145, { table: a, hash: 'five' });
  expect(await stage.row(a)).toMatchObject({ reconcileWanted: 2 });
});

test('a graver difference waits for nothing', async () => {
  const stage = new Stage();
  await stage.start({ table: a, hash: 'one' });
  stage.tables.truncated([a], { by: '7', position: at(10) });
  await stage.look(100, 0, { table: a, hash: 'two', facts: 'grave' });
  expect(await stage.row(a)).toMatchObject({ state: 'resync_required' });
});

for (const snapshotNever of [true, false]) {
  test(`a table that was renamed while nobody looked is stopped under both names${snapshotNever ? ', though its rows were said to be copied' : ''}`, async () => {
    const stage = new Stage(snapshotNever);
    await stage.start({ table: a, hash: 'one', relation: '16400' });
    await stage.restart();
    await stage.look(1, 1, { table: b, hash: 'two', relation: '16400' });
    expect(await stage.row(a)).toMatchObject({ state: 'stopped', reason: { code: 'table_renamed' } });
    expect(await stage.row(b)).toMatchObject({ state: 'stopped', reason: { code: 'table_renamed' }, schemas: [] });
    expect([stage.tables.captures(a), stage.tables.captures(b)]).toEqual([false, false]);
    expect(stage.tables.liveSchemas).toEqual([]);
  });
}

test('another table under the old name changes nothing about that', async () => {
  const stage = new Stage(true);
  await stage.start({ table: a, hash: 'one', relation: '16400' });
  await stage.restart();
  const shown: readonly Shown[] = [
    { table: a, hash: 'two', relation: '16500', facts: 'grave' },
    { table: b, hash: 'three', relation: '16400' },
  ];
  for (const place of [1, 2]) await stage.look(place, place, ...shown);
  expect(await stage.row(a)).toMatchObject({ state: 'resync_required', fingerprint: { relation: '16500' } });
  expect(await stage.row(b)).toMatchObject({ state: 'stopped', reason: { code: 'table_renamed' } });
});

test('as many versions of a table are kept as a sink can be behind, the newest among them', async () => {
  const stage = new Stage();
  await stage.start({ table: a, hash: 'one' });
  const versions = Array.from({ length: VERSIONS_KEPT + 3 }, (_, index) =>
    contractSchema(a, [contractColumn(`c${index}`, 'bigint', { tag: 'int', bits: 64, unsigned: false }, false)]),
  );
  for (const schema of versions) await stage.tables.remember(schema, signal);
  expect((await stage.row(a)).schemas).toEqual(versions.slice(3));
  const [first] = versions;
  if (first === undefined) throw new Error('there are some');
  expect(stage.tables.remembers(first)).toBe(false);
  await stage.tables.remember(first, signal);
  expect((await stage.row(a)).schemas).toEqual([...versions.slice(4), first]);
});

test('a row that is gone from the control store ends the generation: the table is not left out of the log', async () => {
  const stage = new Stage();
  await stage.start({ table: a, hash: 'one' });
  const stored = await stage.control.get(controlKeys.table('p', a), signal);
  await stage.control.remove(controlKeys.table('p', a), stored?.version ?? (0 as never), signal);
  const other = contractSchema(a, [contractColumn('id', 'bigint', { tag: 'int', bits: 64, unsigned: false }, false)]);
  await expect(stage.tables.remember({ ...other, version: 'other' as never }, signal)).rejects.toMatchObject({ code: 'checkpoint_lost' });
  await expect(stage.look(60, 60, { table: a, hash: 'two' })).rejects.toMatchObject({ code: 'checkpoint_lost' });
  expect(stage.tables.captures(a)).toBe(true);
});

test('versions that a control store lost, because it came back as it was earlier, are stored again at the next look', async () => {
  const stage = new Stage();
  await stage.start({ table: a, hash: 'one' });
  const before = await stage.control.get(controlKeys.table('p', a), signal);
  const text = contractColumn('later', 'text', { tag: 'text' }, true);
  const wider = contractSchema(a, [...present((before?.value as TableRow).schemas[0], 'first version').columns, text]);
  await stage.tables.remember(wider, signal);
  const now = await stage.control.get(controlKeys.table('p', a), signal);
  const versions = (row: TableRow): readonly string[] => row.schemas.map(({ version }) => version);
  const known = versions(now?.value as TableRow);
  expect(known).toHaveLength(2);
  await stage.control.swap({ key: controlKeys.table('p', a), value: before?.value, expected: now?.version ?? null }, signal);
  await stage.look(10, 10, { table: a, hash: 'one' });
  expect(versions(await stage.row(a))).toEqual(known);
  // Also where something else of the row changes first.
  const again = await stage.control.get(controlKeys.table('p', a), signal);
  await stage.control.swap({ key: controlKeys.table('p', a), value: before?.value, expected: again?.version ?? null }, signal);
  await stage.tables.stopped({ table: a, reason: 'x' }, signal);
  expect(versions(await stage.row(a))).toEqual(known);
});

test('a table that comes later is captured only from the moment at which that is announced', async () => {
  const stage = new Stage(true);
  await stage.start({ table: a, hash: 'one' });
  await stage.look(100, 100, { table: a, hash: 'one' }, { table: b, hash: 'one' });
  // What the stream shows meanwhile would stand before its schema.
  expect([await stage.row(b), stage.tables.captures(b), stage.tables.liveSchemas.length]).toMatchObject([{ state: 'streaming' }, false, 1]);
  stage.tables.begin();
  expect([stage.tables.captures(b), stage.tables.liveSchemas.length]).toEqual([true, 2]);
});
