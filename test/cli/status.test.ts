import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { controlKeys, type StatusRow, type WorkerRow } from '#core/control-rows.ts';
import type { ControlKey, ControlStore } from '#core/control.ts';
import { connectors } from '../../connectors/registry.ts';
import { runCommandLine } from '../../src/cli/program.ts';
import { systemRuntime } from '../../src/runtime/runtime.ts';
import { silentLogger } from '../support/silent-logger.ts';

const never = new AbortController().signal;
let folder: string;
let control: ControlStore;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'causeway-status-'));
  writeFileSync(
    join(folder, 'causeway.yaml'),
    `control: { kind: embedded, path: ${folder}/control.db }
pipelines:
  orders:
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
});
afterEach(async () => {
  await control[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function put(key: ControlKey, value: unknown): Promise<void> {
  await control.swap({ key, value, expected: null }, never);
}

async function status(...words: readonly string[]): Promise<{ readonly out: string; readonly err: string }> {
  const said = { out: '', err: '' };
  const io = { stdout: (text: string) => void (said.out += text), stderr: (text: string) => void (said.err += text) };
  await runCommandLine(['status', ...words, '-c', join(folder, 'causeway.yaml')], { ...io, env: {}, signal: never });
  return said;
}

const sink = (partitions: readonly number[], lagRecords: number | null, parkedKeys: number) => ({
  ...{ name: 'warm', kind: 'postgres', state: 'running', trouble: null, watermark: null, lagSeconds: 2 },
  ...{ lagRecords, parkedKeys, parkedOldestMicros: null, blocked: [], inFlightRows: 0 },
  partitions: partitions.map((partition) => ({ partition, state: 'running', lagRecords })),
});

/** Of the table's only row, by column. */
function cells(out: string): Readonly<Record<string, string>> {
  const [head = '', row = ''] = out.split('\n');
  const starts = [...head.matchAll(/\S+( \S+)*/g)].map(({ index, 0: name }) => ({ index, name }));
  return Object.fromEntries(starts.map(({ index, name }, at) => [name, row.slice(index, starts[at + 1]?.index).trim()]));
}

test('counts and partitions are those of all processes that share a sink, by process', async () => {
  const nowMs = Date.now();
  const document = { state: 'streaming', trouble: null, slot: null, log: null, sinks: [sink([0, 2], 5, 1)] };
  await put(controlKeys.status('orders'), { writtenAtWallMs: nowMs, document } satisfies StatusRow);
  const other = { writtenAtWallMs: nowMs, describedAs: 'other/7', sinks: [sink([1, 3], 7, 2)] };
  await put(controlKeys.worker('orders', 'a'), other satisfies WorkerRow);
  // One that went away without a word.
  await put(controlKeys.worker('orders', 'b'), { ...other, writtenAtWallMs: nowMs - 60_000, describedAs: 'gone/8' });
  const { out, err } = await status();
  expect(cells(out)).toMatchObject({ PARTITIONS: '0,2 1,3', RECORDS: '12', PARKED: '3' });
  expect(err).toContain('sink warm: other/7 applies the partitions 1,3');
  expect(err).not.toContain('gone/8');
  const json = JSON.parse((await status('-o', 'json')).out) as { readonly pipelines: readonly { readonly workers: unknown }[] };
  expect(json.pipelines[0]?.workers).toMatchObject([{ process: 'other/7', sinks: [{ name: 'warm' }] }]);
});

test('what one of them does not know is not summed up; one that applies nothing does not count', async () => {
  const nowMs = Date.now();
  const document = { state: 'streaming', trouble: null, slot: null, log: null, sinks: [sink([], null, 0)] };
  await put(controlKeys.status('orders'), { writtenAtWallMs: nowMs, document } satisfies StatusRow);
  await put(controlKeys.worker('orders', 'a'), { writtenAtWallMs: nowMs, describedAs: 'other/7', sinks: [sink([0, 1], 4, 0)] });
  expect(cells((await status()).out)).toMatchObject({ PARTITIONS: '0,1', RECORDS: '4', PARKED: '0' });
  await put(controlKeys.worker('orders', 'b'), { writtenAtWallMs: nowMs, describedAs: 'third/9', sinks: [sink([2], null, 0)] });
  expect(cells((await status()).out)).toMatchObject({ PARTITIONS: '0,1 2', RECORDS: '-' });
});

test('loads under way are told, with how far they are where the source estimated', async () => {
  const load = {
    table: 'public.orders',
    sink: null,
    state: 'reading',
    paused: false,
    rows: 250,
    bytes: 2_048,
    rowsExpected: 1_000,
    percent: 25,
  };
  const other = { ...load, table: 'public.lines', sink: 'warm', paused: true, rowsExpected: null, percent: null };
  const document = { state: 'streaming', trouble: null, slot: null, log: null, loads: [load, other], sinks: [sink([0], 0, 0)] };
  await put(controlKeys.status('orders'), { writtenAtWallMs: Date.now(), document } satisfies StatusRow);
  const { err } = await status();
  expect(err).toContain('orders: table public.orders is being loaded (reading): 250 rows, 2.0 KiB, 25 % of about 1000\n');
  expect(err).toContain('orders: table public.lines is being loaded for the sink warm (paused): 250 rows, 2.0 KiB\n');
});
