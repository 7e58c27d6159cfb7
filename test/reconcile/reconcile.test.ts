// A reconciliation beside a pipeline that runs: what it says of source and sink has to be true at one common cut.
import { describe, expect, test } from 'vitest';
import { countsOf } from '#core/reconcile-row.ts';
import type { TableId } from '#core/schema.ts';
import { epochOf } from '#core/position.ts';
import { watermarkSequence } from '#core/sequence.ts';
import { reconcile } from '../../src/reconcile/run.ts';
import type { FakeStatement } from '../support/fake-source.ts';
import { Ground } from './ground.ts';

describe('a reconciliation', () => {
  test('says that a copy that is right is clean', async () => {
    const { ground } = await filled(30);
    const row = await ground.reconcile();
    expect(row.verdict).toBe('clean');
    expect(countsOf(row)).toEqual({ rows: 30, missing: 0, extra: 0, mismatched: 0, parked: 0, settled: 0, repaired: 0 });
    await ground.stop();
  });

  test('finds a row that is missing, one too many, one that is another, each with its cause', async () => {
    const { ground, orders } = await filled(30);
    ground.tamper(orders, 'k003', { row: null });
    ground.tamper(orders, 'k007', { row: ['k007', 'other'] });
    ground.tamper(orders, 'z999', { row: ['z999', 'nobody'], sequence: null });
    const row = await ground.reconcile();
    expect(row.verdict).toBe('differences');
    expect(countsOf(row)).toMatchObject({ rows: 30, missing: 1, extra: 1, mismatched: 1 });
    expect(ground.differences().map(({ kind, key, cause, columns }) => ({ kind, key, cause, columns }))).toEqual(
      expect.arrayContaining([
        { kind: 'missing', key: ground.key(orders, 'k003'), cause: 'foreign_write', columns: [] },
        { kind: 'mismatched', key: ground.key(orders, 'k007'), cause: 'foreign_write', columns: ['value'] },
        { kind: 'extra', key: ground.key(orders, 'z999'), cause: 'foreign_write', columns: [] },
      ]),
    );
    await ground.stop();
  });

  test('mends them through the log, and is clean then', async () => {
    const { ground, orders } = await filled(30);
    ground.tamper(orders, 'k003', { row: null });
    ground.tamper(orders, 'k007', { row: ['k007', 'other'] });
    ground.tamper(orders, 'z999', { row: ['z999', 'nobody'], sequence: null });
    await ground.reconcile();
    expect(await ground.repair(ground.differences())).toMatchObject({ published: 3, settled: 3, left: [] });
    expect((await ground.reconcile({ run: 'r2' })).verdict).toBe('clean');
    await ground.stop();
  });

  test('mends by itself where it may, within a budget', async () => {
    const { ground, orders } = await filled(30);
    ground.tamper(orders, 'k003', { row: null });
    ground.tamper(orders, 'k007', { row: ['k007', 'other'] });
    const mended = await ground.reconcile({ options: { repairMax: 2 } });
    expect([mended.verdict, countsOf(mended).repaired]).toEqual(['differences', 2]);
    expect((await ground.reconcile({ run: 'r2' })).verdict).toBe('clean');
    for (const id of ['k003', 'k004', 'k005']) ground.tamper(orders, id, { row: [id, 'other'] });
    await expect(ground.reconcile({ run: 'r3', options: { repairMax: 2 } })).rejects.toThrow(/more than 2 differences/);
    expect(countsOf(await ground.reconcile({ run: 'r4' })).mismatched).toBe(3);
    await ground.stop();
  });

  test('tells a register that no change of the source can have written, whatever row it holds', async () => {
    const { ground, orders } = await filled(12);
    ground.tamper(orders, 'k005', { sequence: watermarkSequence(epochOf(9), 1n) });
    const row = await ground.reconcile();
    expect(countsOf(row)).toMatchObject({ missing: 0, extra: 0, mismatched: 1 });
    expect(ground.differences()).toMatchObject([{ key: ground.key(orders, 'k005'), cause: 'sequence_ahead' }]);
    await ground.stop();
  });

  test('says nothing of a sink whose appliers do not get to the place', async () => {
    const { ground, orders } = await filled(12);
    await ground.stopApply();
    ground.world.database.commit([{ op: 'update', table: orders, id: 'k001', row: ['k001', 'new'] }]);
    const row = await ground.reconcile({ options: { patienceMs: 5_000 } });
    expect(row.verdict).toBe('inconclusive');
    expect(row.tables[0]?.reason).toMatch(/did not apply within 5 s/);
    expect(countsOf(row)).toMatchObject({ missing: 0, extra: 0, mismatched: 0 });
    await ground.stop();
  });

  test('takes nothing for a difference that a sink which went back has yet to come to again', async () => {
    const { ground, orders } = await filled(12);
    const back = ground.store.keep();
    ground.world.database.commit([{ op: 'update', table: orders, id: 'k001', row: ['k001', 'new'] }]);
    await ground.world.clock.advance(10_000);
    let looks = 0;
    ground.store.onCall = (stage, call) => {
      if (stage !== 'before' || call.name !== 'read') return;
      looks += 1;
      if (looks === 1) back();
    };
    ground.tamper(orders, 'k001', { row: ['k001', 'other'] });
    const row = await ground.reconcile();
    expect([row.verdict, looks > 1]).toEqual(['clean', true]);
    await ground.stop();
  });

  test('lists parked keys apart', async () => {
    const { ground, orders } = await filled(12);
    ground.store.poison = (_, values) => (values[1] === 'poison' ? 'not taken here' : null);
    ground.world.database.commit([{ op: 'update', table: orders, id: 'k004', row: ['k004', 'poison'] }]);
    await ground.world.clock.advance(10_000);
    const row = await ground.reconcile();
    expect(row.verdict).toBe('clean');
    expect(countsOf(row)).toMatchObject({ parked: 1, missing: 0, extra: 0, mismatched: 0 });
    await ground.stop();
  });

  test('goes on where it was left, and counts nothing twice', async () => {
    const { ground, orders } = await filled(200);
    ground.tamper(orders, 'k003', { row: null });
    ground.tamper(orders, 'k150', { row: ['k150', 'other'] });
    const stop = new AbortController();
    const options = { saveEveryMs: 0, rowsPerSecondMax: 10 };
    const record = await ground.begin({});
    const first = reconcile(ground.deps(options), record, { stop: stop.signal, timeUp: new AbortController().signal });
    const ended = first.catch((error: unknown) => error);
    await ground.world.clock.advance(14_000);
    stop.abort(new Error('stop'));
    await ground.world.clock.runUntil(ended);
    const left = ground.stored('r1');
    expect(left.tables[0]?.place?.source).not.toBeNull();
    expect(left.tables[0]?.counts).toMatchObject({ missing: 1 });
    const row = await ground.reconcile({ from: left });
    expect(countsOf(row)).toMatchObject({ rows: 200, missing: 1, extra: 0, mismatched: 1 });
    await ground.stop();
  });

  test('whose time is over says what it has found, though no place was stored', async () => {
    const { ground, orders } = await filled(200);
    for (const id of ['k001', 'k002']) ground.tamper(orders, id, { row: [id, 'other'] });
    const timeUp = new AbortController();
    const options = { saveEveryMs: 3_600_000, rowsPerSecondMax: 10, closeLookKeys: 1 };
    const record = await ground.begin({});
    const work = reconcile(ground.deps(options), record, { stop: new AbortController().signal, timeUp: timeUp.signal });
    await ground.world.clock.advance(15_000);
    timeUp.abort(new Error('over'));
    await ground.world.clock.runUntil(work);
    expect([record.row.verdict, countsOf(record.row).mismatched]).toEqual(['differences', 2]);
    // They are found again, and are the same ones.
    expect(countsOf(await ground.reconcile({ from: ground.stored('r1') }))).toMatchObject({ rows: 200, mismatched: 2 });
    await ground.stop();
  });

  test('tells a register that is ahead of its source though the key changes all the time', async () => {
    const { ground, orders } = await filled(12);
    ground.tamper(orders, 'k005', { sequence: watermarkSequence(epochOf(9), 1n) });
    const { database } = ground.world;
    database.onCall = (call) => {
      if (call === 'rows-read') database.commit([{ op: 'update', table: orders, id: 'k005', row: ['k005', String(database.head)] }]);
    };
    const row = await ground.reconcile();
    expect([row.verdict, ground.differences().map(({ cause }) => cause)]).toEqual(['differences', ['sequence_ahead']]);
    await ground.stop();
  });

  test('pairs rows on disk where the two ends have no common order, and what waits is too much for memory', async () => {
    const { ground, orders } = await filled(60);
    ground.tamper(orders, 'k003', { row: null });
    ground.tamper(orders, 'k040', { row: ['k040', 'other'] });
    const row = await ground.reconcile({ options: { pendingTextMax: 300 } });
    expect(countsOf(row)).toMatchObject({ rows: 60, missing: 1, extra: 0, mismatched: 1 });
    await ground.stop();
  });

  test('since an earlier run looks at what changed alone', async () => {
    const { ground, orders } = await filled(30);
    await ground.reconcile();
    ground.world.database.commit([{ op: 'update', table: orders, id: 'k001', row: ['k001', 'new'] }]);
    await ground.world.clock.advance(10_000);
    ground.tamper(orders, 'k001', { row: ['k001', 'other'] });
    ground.tamper(orders, 'k002', { row: ['k002', 'other'] });
    const row = await ground.reconcile({ run: 'r2', selection: { since: { run: 'r1', cut: ground.stored('r1').cut } } });
    expect(ground.differences('r2').map(({ key }) => key)).toEqual([ground.key(orders, 'k001')]);
    expect(countsOf(row)).toMatchObject({ rows: 1, mismatched: 1 });
    await ground.stop();
  });
});

describe('beside writers', () => {
  test.each(Array.from({ length: 40 }, (_, seed) => ({ seed })))(
    'every planted difference is found and nothing else, seed $seed',
    async ({ seed }) => {
      const ground = new Ground({ seed: 1_000 + seed, partitions: 2 });
      const { world } = ground;
      const { database, clock } = world;
      const random = database.random;
      const orders = database.createTable('public.orders', ['id', 'value', 'large']);
      const ids = Array.from({ length: 40 }, (_, at) => `k${String(at).padStart(3, '0')}`);
      database.commit(ids.map((id) => ({ op: 'insert', table: orders, row: [id, `v${id}`, 'large'] })));
      await ground.start();
      // Nobody changes these at the source.
      const planted = new Map<string, 'missing' | 'extra' | 'mismatched'>();
      for (let count = Math.floor(random() * 5); count > 0; count -= 1) {
        const id = `k${String(Math.floor(random() * 10)).padStart(3, '0')}`;
        const kind = (['missing', 'mismatched'] as const)[Math.floor(random() * 2)] ?? 'missing';
        planted.set(id, kind);
        ground.tamper(orders, id, { row: kind === 'missing' ? null : [id, 'planted', 'large'] });
      }
      if (random() < 0.5) {
        planted.set('z1', 'extra');
        ground.tamper(orders, 'z1', { row: ['z1', 'planted', null], sequence: null });
      }
      const write = (at: number): void => {
        const id = ids[10 + Math.floor(random() * 30)] ?? '';
        const exists = database.table(orders).rows.has(ground.key(orders, id));
        if (database.isLocked(orders, id)) return;
        const draw = random();
        const statement: FakeStatement = !exists
          ? { op: 'insert', table: orders, row: [id, `w${at}`, `l${at}`] }
          : draw < 0.2
            ? { op: 'delete', table: orders, id }
            : { op: 'update', table: orders, id, row: [id, `w${at}`, draw < 0.5 ? undefined : `l${at}`] };
        database.commit([statement], { hidden: random() < 0.2 });
      };
      const writing = new AbortController();
      const written = (async () => {
        for (let at = 0; !writing.signal.aborted; at += 1) {
          write(at);
          await clock.runtime.sleep(20 + random() * 300, new AbortController().signal);
          if (random() < 0.3) database.show();
        }
      })();
      const row = await ground.reconcile({ options: { saveEveryMs: 2_000 } });
      expect(new Map(ground.differences().map(({ key, kind }) => [key, kind]))).toEqual(
        new Map([...planted].map(([id, kind]) => [ground.key(orders, id), kind])),
      );
      expect(row.verdict).toBe(planted.size === 0 ? 'clean' : 'differences');
      await ground.repair(ground.differences());
      writing.abort();
      database.show();
      await clock.runUntil(written);
      await clock.advance(10_000);
      expect((await ground.reconcile({ run: 'r2' })).verdict).toBe('clean');
      await ground.stop();
      const { schema } = database.table(orders);
      expect(new Set(ground.store.liveRows(schema).map((one) => JSON.stringify(one)))).toEqual(
        new Set([...database.table(orders).rows.values()].map((one) => JSON.stringify(one))),
      );
    },
  );
});

async function filled(rows: number): Promise<{ readonly ground: Ground; readonly orders: TableId }> {
  const ground = new Ground();
  const orders = ground.world.database.createTable('public.orders');
  const all = Array.from({ length: rows }, (_, at) => `k${String(at).padStart(3, '0')}`);
  ground.world.database.commit(all.map((id) => ({ op: 'insert', table: orders, row: [id, `v${id}`] })));
  await ground.start();
  return { ground, orders };
}
