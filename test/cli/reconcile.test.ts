// The commands of reconciliation as a CronJob and an operator meet them: what they end with, and what they refuse.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { controlKeys } from '#core/control-rows.ts';
import type { ReconcileRow } from '#core/reconcile-row.ts';
import type { TableId } from '#core/schema.ts';
import { EXIT_CODES } from '../../src/cli/reconcile.ts';
import { PIPELINE } from '../capture/world.ts';
import { Ground } from '../reconcile/ground.ts';
import { CommandGround, type Ran } from './reconcile-ground.ts';

let commands: CommandGround;
let ground: Ground;
let orders: TableId;

beforeEach(async () => {
  ground = new Ground();
  orders = ground.world.database.createTable('public.orders');
  const ids = Array.from({ length: 20 }, (_, at) => `k${String(at).padStart(3, '0')}`);
  ground.world.database.commit(ids.map((id) => ({ op: 'insert', table: orders, row: [id, `v${id}`] })));
  ground.world.database.createTable('public.lines');
  commands = new CommandGround(ground);
  await ground.start();
});
afterEach(async () => {
  await ground.stop();
  commands[Symbol.dispose]();
});

const reconcile = (...words: readonly string[]): Promise<Ran> => commands.reconcile(...words);
const stored = (): readonly ReconcileRow[] => {
  const prefix = controlKeys.reconciles(PIPELINE);
  return [...ground.world.controlRows.rows].flatMap(([key, { text }]) =>
    key.startsWith(prefix) ? [JSON.parse(text) as ReconcileRow] : [],
  );
};

test('each verdict has an exit code of its own', () => {
  expect(EXIT_CODES).toEqual({ clean: 0, differences: 3, partial: 8, inconclusive: 9 });
});

describe('run', () => {
  test('ends with 0 where source and sink are the same, and prints counts alone', async () => {
    const ran = await reconcile('run');
    expect([ran.code, ran.reason]).toEqual([0, null]);
    expect(ran.out).toMatch(/public\.orders +compared +20 +0 +0 +0 +0 +0 +0/);
    expect(ran.out).toMatch(/warm: run \w+: clean in/);
    expect(ran.out + ran.err).not.toContain('k001');
  });

  test('ends with 3 where they differ, and without keys or values', async () => {
    ground.tamper(orders, 'k003', { row: ['k003', 'planted'] });
    const ran = await reconcile('run');
    expect(ran.code).toBe(3);
    expect(ran.out).toMatch(/public\.orders +compared +20 +0 +0 +1 +0 +0 +0/);
    expect(ran.out + ran.err).not.toMatch(/k003|planted/);
  });

  test('ends with 8 where a sample was compared, or its time was over', async () => {
    expect((await reconcile('run', '--sample', '100%')).code).toBe(8);
    const ran = await reconcile('run', '--rate', '1', '--max-duration', '5s');
    expect([ran.code, ran.reason]).toEqual([8, null]);
    expect((await reconcile('resume')).code).toBe(0);
  });

  test('ends with 9 where the appliers do not get there', async () => {
    await ground.stopApply();
    ground.world.database.commit([{ op: 'update', table: orders, id: 'k001', row: ['k001', 'new'] }]);
    const ran = await reconcile('run', '--patience', '5s');
    expect([ran.code, ran.out]).toEqual([9, expect.stringContaining('did not apply within 5 s')]);
  });

  test('ends with 9 for a table whose load is under way, and says so', async () => {
    await ground.stopApply();
    const [progress] = ground.store.progress.values();
    if (progress === undefined) throw new Error('the sink has no progress');
    ground.store.progress.set(0, { ...progress, openLoads: [{ table: orders, sink: null }] });
    const ran = await reconcile('run');
    expect([ran.code, ran.out]).toEqual([9, expect.stringContaining('public.orders: it is being loaded')]);
  });

  test('the gravest verdict counts', async () => {
    ground.tamper(orders, 'k003', { row: null });
    expect((await reconcile('run', '--table', 'public.lines')).code).toBe(0);
    expect((await reconcile('run')).code).toBe(3);
  });

  test('keeps the newest ten, and their differences', async () => {
    ground.tamper(orders, 'k003', { row: null });
    for (let run = 0; run < 12; run += 1) await reconcile('run');
    expect(stored()).toHaveLength(10);
    expect(ground.store.reports.size).toBe(10);
    expect(new Set(stored().map(({ run }) => run))).toEqual(new Set(ground.store.reports.keys()));
  });
});

describe('a mistake in the arguments is refused with 2, and nothing is begun', () => {
  test.each([
    ['a sink that is not there', 'run', '--sink', 'cold'],
    ['a table that is not captured', 'run', '--table', 'public.nothing'],
    ['a share above all', 'run', '--sample', '200%'],
    ['no share', 'run', '--sample', '0'],
    ['a share that is no number', 'run', '--sample', 'half'],
    ['a sample of what changed since', 'run', '--sample', '5%', '--since', 'r1'],
    ['a run to compare since that is not there', 'run', '--since', 'r1'],
    ['a rate of nothing', 'run', '--rate', '0'],
    ['a rate that is no number', 'resume', '--rate', 'fast'],
    ['a duration without a unit', 'run', '--max-duration', '5'],
    ['a repair of no number of keys', 'run', '--repair', '--repair-max', 'all'],
    ['no duration', 'resume', '--max-duration', 'long'],
    ['a patience that is no duration', 'run', '--patience', 'much'],
    ['nothing to resume', 'resume'],
    ['a report of nothing', 'report'],
    ['a repair that neither plans nor applies', 'repair'],
    ['a repair that does both', 'repair', '--plan', '--apply', 'p'],
    ['a maximum that is no number', 'repair', '--apply', 'p', '--max', 'all'],
    ['a maximum below nothing', 'repair', '--apply', 'p', '--max', '-1'],
    ['a status of no sink', 'status', '--sink', 'cold'],
  ])('%s', async (_, ...words) => {
    const ran = await reconcile(...words);
    expect([ran.code, ran.out]).toEqual([2, '']);
    expect(stored()).toEqual([]);
  });
});

describe('resume', () => {
  test('goes on with the newest run, and refuses one that is at its end', async () => {
    await reconcile('run', '--rate', '1', '--max-duration', '5s');
    const [left] = stored();
    expect(left).toMatchObject({ state: 'ended', verdict: 'partial' });
    expect((await reconcile('resume')).code).toBe(0);
    expect(stored()).toMatchObject([{ run: left?.run, verdict: 'clean' }]);
    expect((await reconcile('resume')).code).toBe(4);
  });
});

describe('repair', () => {
  const plan = async (): Promise<{ readonly plan: string }> =>
    JSON.parse((await reconcile('repair', '--plan', '-o', 'json')).out) as { readonly plan: string };

  test('shows a plan, and publishes that one', async () => {
    ground.tamper(orders, 'k003', { row: null });
    await reconcile('run');
    const shown = await reconcile('repair', '--plan');
    expect([shown.code, shown.out]).toEqual([0, expect.stringContaining('public.orders: 1 key to publish again')]);
    const applied = await reconcile('repair', '--apply', (await plan()).plan);
    expect([applied.code, applied.out]).toEqual([0, '1 keys published, 1 are right now, 0 still differ\n']);
    expect((await reconcile('run')).code).toBe(0);
  });

  test('refuses with 4 a plan that is out of date, and more keys than are allowed', async () => {
    ground.tamper(orders, 'k003', { row: null });
    ground.tamper(orders, 'k004', { row: null });
    await reconcile('run');
    const old = await plan();
    expect((await reconcile('repair', '--apply', old.plan, '--max', '1')).code).toBe(4);
    await reconcile('run');
    const refused = await reconcile('repair', '--apply', old.plan);
    expect([refused.code, refused.reason]).toEqual([4, expect.stringContaining('out of date')]);
    expect(ground.store.stored(orders, ground.key(orders, 'k003'))?.values).toBeNull();
  });

  test('ends with 3 where a register is beyond repair', async () => {
    ground.tamper(orders, 'k005', { sequence: 'f'.repeat(48) as never });
    expect((await reconcile('run')).code).toBe(3);
    const applied = await reconcile('repair', '--apply', (await plan()).plan);
    expect(applied.code).toBe(3);
  });
});

test('report shows keys, and values only where they are asked for; status shows neither', async () => {
  ground.tamper(orders, 'k003', { row: ['k003', 'planted'] });
  await reconcile('run');
  const keys = await reconcile('report');
  expect(keys.out).toContain('mismatched  public.orders k003 (value)');
  expect(keys.out).not.toMatch(/planted|vk003/);
  const values = await reconcile('report', '--show-data');
  expect(values.out).toMatch(/source \["k003","vk003"\]\n +sink +\["k003","planted"\]/);
  for (const words of [['status'], ['status', '-o', 'json'], ['run', '-o', 'json']]) {
    const { out } = await reconcile(...words);
    expect(out).not.toMatch(/planted|k003/);
  }
});
