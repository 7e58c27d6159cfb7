// The commands of loads leave rows in the control store, which the daemon that captures takes up.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { controlKeys } from '#core/control-rows.ts';
import type { ControlKey, ControlStore } from '#core/control.ts';
import { newLoad, type LoadRow } from '#core/load-row.ts';
import { tableIdOf } from '#core/schema.ts';
import { connectors } from '../../connectors/registry.ts';
import { runCommandLine } from '../../src/cli/program.ts';
import { systemRuntime } from '../../src/runtime/runtime.ts';
import { silentLogger } from '../support/silent-logger.ts';

const never = new AbortController().signal;
const orders = tableIdOf('public', 'orders');
const lines = tableIdOf('public', 'lines');
let folder: string;
let control: ControlStore;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'causeway-snapshot-'));
  writeFileSync(
    join(folder, 'causeway.yaml'),
    `control: { kind: embedded, path: ${folder}/control.db }
pipelines:
  main:
    source: { kind: postgres, url: "postgres://u@127.0.0.1:1/a", tables: [public.*] }
    log: { kind: embedded, path: ${folder}/log.db }
    sinks: { warm: { kind: postgres, url: "postgres://u@127.0.0.1:1/b" } }\n`,
  );
  const connector = await connectors.control['embedded']?.();
  if (connector === undefined) throw new Error('no control store');
  control = connector.create({
    config: { kind: 'embedded', path: join(folder, 'control.db') },
    leaseTtlMs: 15_000,
    context: { runtime: systemRuntime, logger: silentLogger },
  });
  for (const table of [orders, lines]) await put(controlKeys.table('main', table), { table, state: 'streaming' });
  await put(controlKeys.table('main', tableIdOf('public', 'gone')), { table: 'public.gone', state: 'stopped' });
});
afterEach(async () => {
  await control[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function put(key: ControlKey, value: unknown): Promise<void> {
  const current = await control.get(key, never);
  await control.swap({ key, value, expected: current?.version ?? null }, never);
}

async function snapshot(...words: readonly string[]): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  const said = { out: '', err: '' };
  const io = { stdout: (text: string) => void (said.out += text), stderr: (text: string) => void (said.err += text) };
  const code = await runCommandLine(['snapshot', ...words, '-c', join(folder, 'causeway.yaml')], { ...io, env: {}, signal: never });
  return { code, ...said };
}

async function load(table = orders, sink: string | null = null): Promise<LoadRow | undefined> {
  return (await control.get(controlKeys.load('main', table, sink), never))?.value as LoadRow | undefined;
}

test('start asks for a load of each table that is captured, and for no second one while that is under way', async () => {
  expect((await snapshot('start')).code).toBe(2);
  expect((await snapshot('start', '--table', 'public.gone')).code).toBe(4);
  expect((await snapshot('start', '--all')).err).toContain('asked for 2 loads');
  expect([await load(orders), await load(lines)]).toMatchObject([{ state: 'open' }, { state: 'open' }]);
  const again = await snapshot('start', '--table', 'public.orders');
  expect([again.code, again.err]).toEqual([4, expect.stringContaining('causeway snapshot cancel --table public.orders')]);
});

test('start takes a table that the daemon tells is not captured yet, by its name and for all sinks', async () => {
  const refused = [
    { table: 'public.later', code: 'table_not_loaded', reason: 'r', mend: 'm' },
    { table: 'public.keyless', code: 'no_primary_key', reason: 'r', mend: 'm' },
  ];
  await put(controlKeys.status('main'), { writtenAtWallMs: 1, document: { refused } });
  await put(controlKeys.sink('main', 'warm'), { state: 'known' });
  const later = tableIdOf('public', 'later');
  expect((await snapshot('start', '--table', 'public.keyless')).code).toBe(4);
  expect((await snapshot('start', '--table', 'public.later', '--sink', 'warm')).code).toBe(4);
  await snapshot('start', '--all');
  expect(await load(later)).toBeUndefined();
  expect((await snapshot('start', '--table', 'public.later')).code).toBe(0);
  expect(await load(later)).toMatchObject({ state: 'open', sink: null });
});

test('progress and start tell of loads that are held', async () => {
  await snapshot('start', '--table', 'public.orders');
  await put(controlKeys.load('main', orders, null), { ...(await load()), state: 'reading' });
  const slot = { headroomBytes: 1_024, retainedBytes: 1e9 };
  const loadsHeld = { reason: 'little is left', mend: 'make room', sinceWallMs: Date.now() - 60_000 };
  await put(controlKeys.status('main'), { writtenAtWallMs: Date.now(), document: { slot, loadsHeld } });
  const { out, err } = await snapshot('progress');
  expect([out, err]).toEqual([expect.stringMatching(/public\.orders +all +held/), 'loads are held for 60s: little is left. make room\n']);
  expect((await snapshot('start', '--table', 'public.lines')).err).toContain('only 1.0 KiB are left');
  // What a daemon said long ago is no news.
  await put(controlKeys.status('main'), { writtenAtWallMs: 1, document: { slot, loadsHeld } });
  expect((await snapshot('progress')).err).toBe('');
});

test('a load that is over begins anew, and keeps the generation that wrote it last', async () => {
  const over = { ...newLoad({ table: orders, sink: null, rowsExpected: 9, wallMs: 1 }), state: 'done', rows: 9, generation: 7 };
  await put(controlKeys.load('main', orders, null), over);
  expect((await snapshot('start', '--table', 'public.orders')).code).toBe(0);
  expect(await load()).toMatchObject({ state: 'open', rows: 0, after: null, generation: 7 });
});

test('a load for one sink waits until that sink reads the log', async () => {
  const early = await snapshot('start', '--all', '--sink', 'warm');
  expect([early.code, early.err]).toEqual([4, expect.stringContaining('the sink warm does not read the log yet')]);
  await put(controlKeys.sink('main', 'warm'), { state: 'new' });
  expect((await snapshot('start', '--all', '--sink', 'warm')).code).toBe(4);
  await put(controlKeys.sink('main', 'warm'), { state: 'known', owes: ['public.orders'] });
  expect((await snapshot('start', '--all', '--sink', 'warm')).code).toBe(4);
  await put(controlKeys.sink('main', 'warm'), { state: 'known' });
  expect((await snapshot('start', '--all', '--sink', 'warm')).code).toBe(0);
  expect([await load(), await load(orders, 'warm')]).toMatchObject([undefined, { sink: 'warm', state: 'open' }]);
  // One for all sinks beside it is no second one of the same: rows that come twice change nothing.
  expect((await snapshot('start', '--table', 'public.orders')).code).toBe(0);
  expect((await snapshot('start', '--table', 'public.orders', '--sink', 'warm')).code).toBe(4);
});

test('pause, resume and cancel are written where a load is under way', async () => {
  expect((await snapshot('pause', '--table', 'public.orders')).code).toBe(4);
  await snapshot('start', '--table', 'public.orders');
  await snapshot('pause', '--all');
  expect(await load()).toMatchObject({ paused: true, state: 'open' });
  await snapshot('resume', '--all');
  expect(await load()).toMatchObject({ paused: false, state: 'open' });
  await snapshot('cancel', '--all');
  expect(await load()).toMatchObject({ state: 'cancel' });
  // Its end is on its way, and a pause would keep it there.
  await snapshot('pause', '--all');
  expect(await load()).toMatchObject({ paused: false, state: 'cancel' });
});

test('progress tells rows, percent and time left, where the source estimated', async () => {
  const begun = newLoad({ table: orders, sink: null, rowsExpected: 1_000, wallMs: Date.now() - 10_000 });
  await put(controlKeys.load('main', orders, null), { ...begun, state: 'reading', rows: 250, bytes: 2_048 });
  await put(controlKeys.load('main', lines, null), { ...begun, table: lines, state: 'reading', rows: 9, rowsExpected: null });
  const { out } = await snapshot('progress');
  expect(out).toMatch(/public\.orders +all +reading +250 +2\.0 KiB +\d+\/s +25 % +\d/);
  expect(out).toMatch(/public\.lines +all +reading +9 +0 B +\d+\/s +- +-/);
  const { loads } = JSON.parse((await snapshot('progress', '-o', 'json')).out) as { readonly loads: readonly unknown[] };
  expect(loads).toMatchObject([
    { table: 'public.lines', percent: null },
    { table: 'public.orders', percent: 25 },
  ]);
});
