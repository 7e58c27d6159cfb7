import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import {
  controlKeys,
  type CheckpointRow,
  type DesiredRow,
  type EpochRow,
  type LeaseRow,
  type SinkRow,
  type StatusRow,
  type TableRow,
} from '#core/control-rows.ts';
import type { ControlStore } from '#core/control.ts';
import { epochOf, fencingTokenOf, positionOf, type MonoMs, type Offset } from '#core/position.ts';
import type { SchemaVersion, TableId } from '#core/schema.ts';
import { watermarkSequence } from '#core/sequence.ts';
import { connectors } from '../../connectors/registry.ts';
import { runCommandLine } from '../../src/cli/program.ts';
import { systemRuntime } from '../../src/runtime/runtime.ts';
import { silentLogger } from '../support/silent-logger.ts';

let folder: string;
let file: string;
const never = new AbortController().signal;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'causeway-cli-'));
  file = join(folder, 'causeway.yaml');
  // No server listens there: what needs one says so.
  writeFileSync(
    file,
    `control: { kind: embedded, path: ${folder}/control.db }
pipelines:
  main:
    source: { kind: postgres, url: "postgres://u:hunter2@127.0.0.1:1/none", tables: [public.*] }
    log: { kind: embedded, path: ${folder}/log.db }
    lease: { ttl: 1s }
    sinks: { copy: { kind: postgres, url: "postgres://u:hunter2@127.0.0.1:1/copy" } }
`,
  );
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

type Ran = { readonly code: number; readonly out: string; readonly err: string };

async function causeway(...words: readonly string[]): Promise<Ran> {
  const said = { out: '', err: '' };
  const code = await runCommandLine([...words, '-c', file], {
    stdout: (text) => void (said.out += text),
    stderr: (text) => void (said.err += text),
    env: {},
    signal: never,
  });
  expect(said.out + said.err).not.toContain('hunter2');
  return { code, ...said };
}

async function withControl<T>(work: (control: ControlStore) => Promise<T>): Promise<T> {
  const connector = await connectors.control['embedded']?.();
  if (connector === undefined) throw new Error('no control store');
  await using control = connector.create({
    config: { kind: 'embedded', path: join(folder, 'control.db') },
    leaseTtlMs: 15_000,
    context: { runtime: systemRuntime, logger: silentLogger },
  });
  return await work(control);
}

async function put(key: ReturnType<typeof controlKeys.lease>, value: unknown): Promise<void> {
  await withControl(async (control) => {
    const current = await control.get(key, never);
    await control.swap({ key, value, expected: current?.version ?? null }, never);
  });
}

const lease = (more: Partial<LeaseRow> = {}): LeaseRow => ({
  token: fencingTokenOf(5),
  holder: 'abcdef',
  describedAs: 'host:1',
  ttlMs: 1_000,
  renewals: 0,
  ...more,
});

test('an unknown command, an unknown option and a bad choice end with 2', async () => {
  expect((await causeway('nonsense')).code).toBe(2);
  expect((await causeway('status', '--nonsense')).code).toBe(2);
  expect((await causeway('status', '-o', 'xml')).code).toBe(2);
  expect((await causeway('check', '--only', 'moon')).code).toBe(2);
  expect((await causeway('status', '-p', 'nope')).err).toContain('there is no pipeline nope in the file; there is main');
});

test('help and version end with 0', async () => {
  expect((await causeway('help')).code).toBe(0);
  expect((await causeway('pipeline', 'pause', '--help')).out).toContain('--pipeline <name>');
  expect((await causeway('version')).out).toMatch(/^causeway \d+\.\d+\.\d+ /);
  expect(JSON.parse((await causeway('version', '-o', 'json')).out)).toMatchObject({ apiVersion: 'causeway/v1', kind: 'Version' });
});

test('completion knows every command, in a shell that reads it', async () => {
  const script = (await causeway('completion', 'bash')).out;
  const completed = (words: string): string =>
    execFileSync(
      'bash',
      ['-c', `${script}\nCOMP_WORDS=(${words}); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _causeway; echo "\${COMPREPLY[@]}"`],
      {
        encoding: 'utf8',
      },
    ).trim();
  expect(completed('causeway pipe')).toBe('pipeline');
  expect(completed('causeway pipeline re')).toBe('resume remove');
  expect(completed("causeway ''").split(' ')).toEqual(expect.arrayContaining(['run', 'check', 'completion', 'version']));
  expect((await causeway('completion', 'zsh')).out).toContain('bashcompinit');
  expect((await causeway('completion', 'fish')).code).toBe(2);
});

test('a mistake in the file ends with 2, and names line and mend', async () => {
  writeFileSync(file, 'control: { kind: embedded, patth: x }\n');
  const { code, err } = await causeway('config', 'validate');
  expect(code).toBe(2);
  expect(err).toContain(`${file}:1:28 control.patth: is not a key that is known here`);
  expect(err).toContain('Did you mean `path`?');
  expect(JSON.parse((await causeway('status', '-o', 'json')).out)).toMatchObject({ kind: 'Error', code: 'config_invalid' });
});

test('config init writes a file once, and print hides what is secret', async () => {
  expect((await causeway('config', 'init')).code).toBe(4);
  const { code, out } = await causeway('config', 'print');
  expect(code).toBe(0);
  expect(out).toContain('postgres://u:***@127.0.0.1:1/none');
  rmSync(file);
  expect((await causeway('config', 'init')).code).toBe(0);
  expect(readFileSync(file, 'utf8')).toContain('pipelines:');
});

test('status says that no daemon has run, and what one wrote last', async () => {
  const first = await causeway('status');
  expect([first.code, first.err]).toEqual([0, 'main: no daemon has run yet; start one with `causeway run`\n']);
  const document = { name: 'main', state: 'streaming', trouble: null, slot: null, log: null, sinks: [] };
  const old: StatusRow = { writtenAtWallMs: systemRuntime.wallMs() - 3_600_000, document };
  await put(controlKeys.status('main'), old);
  expect((await causeway('status')).err).toContain('no daemon runs: the last one wrote its status 60m ago');
  await put(controlKeys.status('main'), { ...old, writtenAtWallMs: systemRuntime.wallMs() });
  expect((await causeway('status')).out).toContain('streaming');
});

test('status says when the lease ends, which partitions are applied, and how far behind the sink is', async () => {
  const written = { name: 'main', state: 'streaming', trouble: null, slot: null, log: null };
  const sink = { name: 'copy', state: 'running', trouble: null, parkedKeys: 0, lagSeconds: 2, blocked: [] };
  const partitions = [0, 2].map((partition) => ({ partition, state: 'running', lagRecords: 3 }));
  const document = { ...written, lease: { expiresInSeconds: 900 }, sinks: [{ ...sink, lagRecords: 6, partitions }] };
  await put(controlKeys.lease('main'), lease());
  await put(controlKeys.status('main'), { writtenAtWallMs: systemRuntime.wallMs(), document } satisfies StatusRow);
  expect((await causeway('status')).out).toMatch(/main +streaming +host:1 +5 +in 15m +copy +running +0,2 +2\.0s +6 +- +- +0/);
  const { pipelines } = JSON.parse((await causeway('status', '-o', 'json')).out) as {
    readonly pipelines: readonly { readonly lease: { readonly expiresInSeconds: number } }[];
  };
  expect(pipelines[0]?.lease).toMatchObject({ generation: 5, holder: 'host:1' });
  expect(pipelines[0]?.lease.expiresInSeconds).toBeLessThanOrEqual(900);
  // As a daemon of an older release writes it.
  await put(controlKeys.status('main'), { writtenAtWallMs: systemRuntime.wallMs(), document: { ...written, lease: {}, sinks: [sink] } });
  expect((await causeway('status')).out).toMatch(/main +streaming +host:1 +5 +- +copy +running +- +2\.0s +- +- +- +0/);
});

test('status says why something waits, and for how long', async () => {
  const trouble = { code: 'log_full', message: 'no room', mend: 'Make some.', sinceWallMs: systemRuntime.wallMs() - 180_000 };
  const sink = {
    name: 'copy',
    state: 'retrying',
    trouble: { ...trouble, code: 'sink_unavailable' },
    parkedKeys: 0,
    lagSeconds: null,
    blocked: [],
  };
  const document = { name: 'main', state: 'retrying', trouble, slot: null, log: null, sinks: [sink] };
  await put(controlKeys.status('main'), { writtenAtWallMs: systemRuntime.wallMs(), document } satisfies StatusRow);
  const { err } = await causeway('status');
  expect(err).toContain('main: log_full for 3m: no room. Make some.');
  expect(err).toContain('main: sink copy: sink_unavailable for 3m: no room. Make some.');
});

test('pause and resume write what is wanted, and say that no daemon follows', async () => {
  const wanted = (): Promise<unknown> => withControl(async (control) => (await control.get(controlKeys.desired('main'), never))?.value);
  const paused = await causeway('pipeline', 'pause');
  expect(paused.code).toBe(0);
  expect(paused.err).toContain('no daemon runs, so this holds from its next start');
  expect(paused.err).toContain('how much the source keeps could not be measured: source_unavailable');
  expect(await wanted()).toEqual({ paused: true, pausedSinks: [] } satisfies DesiredRow);
  await causeway('pipeline', 'pause', '--sink', 'copy');
  await causeway('pipeline', 'resume');
  expect(await wanted()).toEqual({ paused: false, pausedSinks: ['copy'] });
  await causeway('pipeline', 'resume', '--sink', 'copy');
  expect(await wanted()).toEqual({ paused: false, pausedSinks: [] });
  expect((await causeway('pipeline', 'pause', '--sink', 'none')).code).toBe(2);
});

test('a daemon that does not follow in time is exit code 5', async () => {
  const document = { name: 'main', state: 'streaming', sinks: [] };
  await put(controlKeys.status('main'), { writtenAtWallMs: systemRuntime.wallMs(), document });
  expect((await causeway('pipeline', 'pause', '--timeout', '100ms')).code).toBe(5);
});

test('remove lists without a confirmation, refuses a wrong one, and refuses while a daemon renews its lease', async () => {
  await put(controlKeys.checkpoint('main'), { generation: 5 });
  const listed = await causeway('pipeline', 'remove');
  expect([listed.code, listed.out]).toEqual([0, expect.stringContaining('control row checkpoint/main')]);
  expect((await causeway('pipeline', 'remove', '--confirm', 'mine')).code).toBe(4);

  await put(controlKeys.lease('main'), lease());
  const running = causeway('pipeline', 'remove', '--confirm', 'main');
  const renewing = new AbortController();
  const renewed = (async () => {
    for (let renewals = 1; !renewing.signal.aborted; renewals += 1) {
      await put(controlKeys.lease('main'), lease({ renewals }));
      await systemRuntime.sleep(50, never);
    }
  })();
  const refused = await running;
  renewing.abort();
  await renewed;
  expect([refused.code, refused.err]).toEqual([4, expect.stringContaining('the daemon host:1 holds the lease of main')]);
  expect(await withControl((control) => control.get(controlKeys.checkpoint('main'), never))).not.toBeNull();
});

test('remove refuses while a daemon runs that cannot capture, and so holds no lease', async () => {
  await put(controlKeys.lease('main'), lease({ holder: null, describedAs: null }));
  const row = (): StatusRow => ({ writtenAtWallMs: systemRuntime.wallMs(), document: {} });
  await put(controlKeys.status('main'), row());
  const running = causeway('pipeline', 'remove', '--confirm', 'main');
  const writing = new AbortController();
  const written = (async () => {
    while (!writing.signal.aborted) {
      await put(controlKeys.status('main'), row());
      await systemRuntime.sleep(50, never);
    }
  })();
  const refused = await running;
  writing.abort();
  await written;
  expect([refused.code, refused.err]).toEqual([4, expect.stringContaining('a daemon serves main')]);
});

test('remove of what does not answer is partial and can be repeated, or gives it up', async () => {
  await put(controlKeys.checkpoint('main'), { generation: 5 });
  // Of a daemon that was killed: nobody renews it any more.
  await put(controlKeys.lease('main'), lease());
  const partial = await causeway('pipeline', 'remove', '--confirm', 'main');
  expect([partial.code, partial.err]).toEqual([8, expect.stringContaining('the control rows stay')]);
  const row = (await withControl((control) => control.get(controlKeys.lease('main'), never)))?.value as LeaseRow;
  expect([row.holder, row.token]).toEqual([null, 6]);
  const given = await causeway('pipeline', 'remove', '--confirm', 'main', '--leave-unreachable');
  expect([given.code, given.out]).toEqual([8, expect.stringContaining('dropped control row checkpoint/main')]);
  expect(await withControl((control) => control.list('', never))).toEqual([]);
});

test('lease raise makes the next generation greater, never less, and not under a living daemon', async () => {
  expect((await causeway('lease', 'raise', '--above', 'x')).code).toBe(2);
  await put(controlKeys.lease('main'), lease({ holder: null }));
  expect((await causeway('lease', 'raise', '--above', '41')).err).toContain('the next generation of main is 42');
  expect((await causeway('lease', 'raise', '--above', '7')).err).toContain('nothing to do');
  expect((await causeway('lease', 'list')).out).toMatch(/main +41 +nobody/);
});

test('lease raise --epoch opens the next epoch with an unknown fork, once, and each table has to be loaded again', async () => {
  const above = ['lease', 'raise', '--epoch', '--above'];
  expect((await causeway(...above, '0')).code).toBe(2);
  expect((await causeway(...above, '4')).code).toBe(4);
  const identity = { system: 'one', timeline: 1 };
  await put(controlKeys.epoch('main'), { epoch: epochOf(3), identity, fork: '0'.repeat(15) + '1' } satisfies EpochRow);
  const checkpoint: CheckpointRow = {
    generation: fencingTokenOf(7),
    holder: 'h',
    epoch: epochOf(3),
    position: positionOf('0/8'),
    sequence: watermarkSequence(epochOf(3), 8n),
    partitions: [null],
  };
  await put(controlKeys.checkpoint('main'), checkpoint);
  for (const [table, state] of [
    ['public.a', 'streaming'],
    ['public.b', 'stopped'],
  ] as const) {
    const fingerprint = { hash: '', facts: null };
    const row: TableRow = { table: table as TableId, state, reason: null, fingerprint, schemas: [], reconcileWanted: 0 };
    await put(controlKeys.table('main', row.table), row);
  }
  expect((await causeway(...above, '5')).err).toContain('the epoch of main is 6');
  expect((await causeway(...above, '5')).err).toContain('nothing to do');
  const rows = await withControl((control) => control.list('', never));
  const value = (key: string): unknown => rows.find((row) => row.key === key)?.value;
  expect(value('epoch/main')).toEqual({ epoch: 6, identity, fork: '0'.repeat(16) });
  expect(value('checkpoint/main')).toEqual({ ...checkpoint, epoch: 6, sequence: null });
  expect(value('table/main/public.a')).toMatchObject({ state: 'resync_required', reason: { code: 'generation_behind' } });
  expect(value('table/main/public.b')).toMatchObject({ state: 'stopped' });
});

test('schema approve releases what waits, and refuses where nothing does', async () => {
  expect((await causeway('schema', 'approve')).code).toBe(4);
  const block = { table: 'public.a' as TableId, version: 'v' as SchemaVersion, reasons: ['a column was dropped'], approved: false };
  const row: SinkRow = {
    state: 'known',
    reason: null,
    owner: 'o',
    startOffsets: [0 as Offset],
    startGeneration: fencingTokenOf(1),
    blocked: [block, { ...block, table: 'public.b' as TableId }],
  };
  await put(controlKeys.sink('main', 'copy'), row);
  expect((await causeway('schema', 'diff')).out).toContain('at the source: a column was dropped');
  expect((await causeway('schema', 'approve', '--table', 'public.b')).code).toBe(0);
  const now = (await withControl((control) => control.get(controlKeys.sink('main', 'copy'), never)))?.value as SinkRow;
  expect(now.blocked.map(({ approved }) => approved)).toEqual([false, true]);
});

test('a dead-letter request is written and waits; discarding wants a confirmation', async () => {
  expect((await causeway('dlq', 'replay')).code).toBe(2);
  expect((await causeway('dlq', 'discard', '--all')).code).toBe(4);
  expect((await causeway('dlq', 'replay', '--key', 'nonsense')).code).toBe(2);
  const { code, err } = await causeway('dlq', 'replay', '--key', '["public.a", "1"]');
  expect([code, err]).toEqual([5, expect.stringContaining('no daemon runs')]);
  const [request] = await withControl((control) => control.list(controlKeys.requests('main'), never));
  expect(request?.value).toMatchObject({ kind: 'dlq-replay', state: 'pending', args: { sink: 'copy', keys: ['["public.a","1"]'] } });
});

test('check goes on where something does not answer, and ends with 1', async () => {
  const { code, out } = await causeway('check');
  expect(code).toBe(1);
  expect(out).toContain('√ the control store answers');
  expect(out).toMatch(/× .*source_unavailable/);
  expect(out).toMatch(/Result: \d+ errors?, /);
  const report = JSON.parse((await causeway('check', '--only', 'general,control', '-o', 'json')).out) as { readonly success: boolean };
  expect(report).toMatchObject({ kind: 'CheckReport', success: true, errors: 0 });
  expect(existsSync(join(folder, 'log.db'))).toBe(false);
});

test('check measures renewals, and warns of a lease that is too short for them and of a control store that ends with its machine', async () => {
  const swapped = vi.spyOn(systemRuntime, 'monotonicMs');
  let now = 0;
  // Two readings in a row are late, so that one of the first renewals is slow, and none of the last.
  swapped.mockImplementation(() => (now += now >= 20 && now < 800 ? 400 : 1) as MonoMs);
  const slow = await causeway('check', '--only', 'control');
  swapped.mockRestore();
  expect(slow.out).toMatch(
    /‼ a write to the control store took [48]\d\d ms, which is much for the lease +G-006\n +main: lease.ttl is 1000 ms/,
  );
  expect((await causeway('check', '--only', 'control')).out).not.toContain('G-007');
  writeFileSync(
    file,
    readFileSync(file, 'utf8')
      .replace(/log: .*/, 'log: { kind: kafka, brokers: ["127.0.0.1:1"], topic: t }')
      .replace('ttl: 1s', 'ttl: 15s'),
  );
  expect((await causeway('check', '--only', 'control')).out).toMatch(
    /‼ the control store is a file of this machine.* G-007\n +main: its log is kafka/,
  );
});

test('warnings alone end with 10 where that was asked for', async () => {
  const secret = join(folder, 'url');
  writeFileSync(secret, 'postgres://u@127.0.0.1:1/none', { mode: 0o644 });
  writeFileSync(
    file,
    readFileSync(file, 'utf8').replace('"postgres://u:hunter2@127.0.0.1:1/none", tables', `"\${file:${secret}}", tables`),
  );
  expect((await causeway('check', '--only', 'general')).code).toBe(0);
  const { code, out } = await causeway('check', '--only', 'general', '--fail-on', 'warning');
  expect([code, out]).toEqual([10, expect.stringContaining(`chmod o-r ${secret}`)]);
});

test('an error tells its code, its meaning and its mend; the stack only when asked', async () => {
  const short = await causeway('slot', 'list');
  expect(short.code).toBe(1);
  expect(short.err).toMatch(/^source_unavailable: /);
  expect(short.err).toContain('Nothing is lost: capture goes on where it stopped.');
  expect(short.err).not.toMatch(/\n {4}at /);
  expect((await causeway('slot', 'list', '-v')).err).toMatch(/\n {4}at /);
});
