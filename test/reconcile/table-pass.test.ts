// The two scans of a table, and what of them becomes suspect.
import { describe, expect, test } from 'vitest';
import { NO_COUNTS, type ReconcilePlace, type ReconcileTable } from '#core/reconcile-row.ts';
import type { RowKey } from '#core/key.ts';
import type { TableId } from '#core/schema.ts';
import { watermarkSequence } from '#core/sequence.ts';
import { epochOf } from '#core/position.ts';
import type { ReconcileOptions } from '../../src/reconcile/deps.ts';
import { Pace } from '../../src/reconcile/pace.ts';
import { SinkStanding } from '../../src/reconcile/standing.ts';
import { compareWhole } from '../../src/reconcile/table-pass.ts';
import { Ground } from './ground.ts';

const never = new AbortController().signal;

type Passed = { readonly rows: number; readonly looked: readonly RowKey[]; readonly places: readonly ReconcilePlace[] };

async function filled(rows: number): Promise<{ readonly ground: Ground; readonly orders: TableId; readonly ids: readonly string[] }> {
  const ground = new Ground();
  const orders = ground.world.database.createTable('public.orders');
  const ids = Array.from({ length: rows }, (_, at) => `k${String(at).padStart(3, '0')}`);
  ground.world.database.commit(ids.map((id) => ({ op: 'insert', table: orders, row: [id, `v${id}`] })));
  await ground.start();
  return { ground, orders, ids };
}

/** One pass over the table, in which every suspect is let go. */
async function pass(
  ground: Ground,
  orders: TableId,
  of: { readonly place?: ReconcilePlace; readonly options?: Partial<ReconcileOptions> } = {},
): Promise<Passed> {
  const deps = ground.deps(of.options);
  // As a run does before.
  await deps.sink.differences(ground.world.database.table(orders).schema, never);
  const looked: RowKey[] = [];
  const places: ReconcilePlace[] = [];
  const table: ReconcileTable = {
    table: orders,
    state: 'running',
    reason: null,
    place: of.place ?? null,
    counts: NO_COUNTS,
    rowsExpected: null,
    schemaDifferences: [],
  };
  const work = compareWhole(
    {
      deps,
      standing: new SinkStanding(deps),
      pace: new Pace(deps.runtime, null),
      look: (keys) => {
        looked.push(...keys);
        return Promise.resolve();
      },
      onPlace: (place) => {
        places.push(place);
        return Promise.resolve();
      },
    },
    table,
    never,
  );
  return { rows: await ground.world.clock.runUntil(work), looked, places };
}

describe('one pass', () => {
  test('has no suspects where both are the same', async () => {
    const { ground, orders } = await filled(40);
    expect(await pass(ground, orders)).toMatchObject({ rows: 40, looked: [] });
    await ground.stop();
  });

  test('has each row that differs as a suspect once, and one whose register is ahead', async () => {
    const { ground, orders } = await filled(40);
    const key = (id: string): RowKey => ground.key(orders, id);
    ground.tamper(orders, 'k003', { row: null });
    ground.tamper(orders, 'k039', { row: ['k039', 'other'] });
    ground.tamper(orders, 'k020', { sequence: watermarkSequence(epochOf(9), 1n) });
    ground.tamper(orders, 'z1', { row: ['z1', 'nobody'], sequence: null });
    for (const options of [{}, { pendingTextMax: 300 }]) {
      const { looked } = await pass(ground, orders, { options });
      expect(looked.toSorted()).toEqual(['k003', 'k020', 'k039', 'z1'].map(key));
    }
    await ground.stop();
  });

  test('goes on behind a place, where neither row of it is brought again', async () => {
    const { ground, orders } = await filled(40);
    const key = (id: string): RowKey => ground.key(orders, id);
    const place = { source: key('k009'), sink: key('k009'), apart: [] };
    expect(await pass(ground, orders, { place })).toMatchObject({ rows: 30, looked: [] });
    await ground.stop();
  });

  test('does not look again at what was set apart in front of its place', async () => {
    const { ground, orders } = await filled(40);
    const key = (id: string): RowKey => ground.key(orders, id);
    const apart = ['k010', 'k011', 'k012'].map(key);
    ground.tamper(orders, 'k011', { row: ['k011', 'other'] });
    for (const place of [
      { source: key('k012'), sink: key('k009'), apart },
      { source: key('k009'), sink: key('k012'), apart },
    ]) {
      expect((await pass(ground, orders, { place })).looked).toEqual([]);
    }
    await ground.stop();
  });

  test('from each of its places another one brings what is left, and nothing twice', async () => {
    const { ground, orders, ids } = await filled(60);
    ground.tamper(orders, 'k030', { row: ['k030', 'other'] });
    const { places } = await pass(ground, orders, { options: { saveEveryMs: 0 } });
    expect(places.length).toBeGreaterThan(3);
    for (const place of places) {
      const { rows, looked } = await pass(ground, orders, { place });
      const before = ids.filter((id) => place.source !== null && ground.key(orders, id) <= place.source).length;
      expect(rows).toBe(60 - before);
      // Behind the place of neither scan, or set apart as the first of them brought it.
      expect(looked).toEqual(place.apart.includes(ground.key(orders, 'k030')) || before > 30 ? [] : [ground.key(orders, 'k030')]);
    }
    await ground.stop();
  });
});
