import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { controlKeys, type LeaseRow, type RequestRow } from '#core/control-rows.ts';
import type { ControlKey, ControlStore } from '#core/control.ts';
import { fencingTokenOf } from '#core/position.ts';
import { connectors } from '../../connectors/registry.ts';
import { runCommandLine } from '../../src/cli/program.ts';
import { acquireLease } from '../../src/lease/acquire.ts';
import type { Lease } from '../../src/lease/lease.ts';
import { systemRuntime } from '../../src/runtime/runtime.ts';
import { silentLogger } from '../support/silent-logger.ts';

const TTL_MS = 3_000;
const soon = { timeout: 30_000, interval: 20 };
const never = new AbortController().signal;
const key = controlKeys.lease('main');
let folder: string;
let file: string;
let control: ControlStore;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'causeway-lease-'));
  file = join(folder, 'causeway.yaml');
  // No server listens there: no command of a lease needs one.
  const pipeline = (name: string): string => `
  ${name}:
    source: { kind: postgres, url: "postgres://u@127.0.0.1:1/${name}", tables: [public.*] }
    log: { kind: embedded, path: ${folder}/${name}.db }
    lease: { ttl: 3s }
    sinks: { copy: { kind: postgres, url: "postgres://u@127.0.0.1:1/copy_${name}" } }`;
  writeFileSync(file, `control: { kind: embedded, path: ${folder}/control.db }\npipelines:${pipeline('main')}${pipeline('other')}\n`);
  const connector = await connectors.control['embedded']?.();
  if (connector === undefined) throw new Error('no control store');
  control = connector.create({
    config: { kind: 'embedded', path: join(folder, 'control.db') },
    leaseTtlMs: TTL_MS,
    context: { runtime: systemRuntime, logger: silentLogger },
  });
});
afterEach(async () => {
  await control[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

type Ran = { readonly code: number; readonly out: string; readonly err: string };

async function lease(...words: readonly string[]): Promise<Ran> {
  const said = { out: '', err: '' };
  const code = await runCommandLine(['lease', ...words, '-c', file], {
    stdout: (text) => void (said.out += text),
    stderr: (text) => void (said.err += text),
    env: {},
    signal: never,
  });
  return { code, ...said };
}

async function leaseJson(...words: readonly string[]): Promise<unknown> {
  return JSON.parse((await lease(...words, '-o', 'json')).out);
}

function acquired(describedAs: string): Promise<Lease> {
  return acquireLease({ control, runtime: systemRuntime, key, describedAs, ttlMs: TTL_MS }, never);
}

async function put(where: ControlKey, value: unknown): Promise<void> {
  const current = await control.get(where, never);
  await control.swap({ key: where, value, expected: current?.version ?? null }, never);
}

async function row(): Promise<LeaseRow> {
  return (await control.get(key, never))?.value as LeaseRow;
}

const dead: LeaseRow = { token: fencingTokenOf(5), holder: 'abcdef', describedAs: 'host:1', ttlMs: TTL_MS, renewals: 7 };

/** Answers a request to step down as a daemon would: releases, and lets `next` follow. */
async function answering(held: Lease, next: (() => Promise<Lease>) | null): Promise<Lease | null> {
  await expect.poll(() => control.get(controlKeys.stepDown('main'), never), soon).not.toBeNull();
  await held.release(never);
  return next === null ? null : await next();
}

test('list tells of each lease whether it moved while it was looked at, and when it ends at the latest', async () => {
  const held = await acquired('host:9');
  const { out } = await lease('list');
  expect(out).toMatch(/main +1 +host:9 +3\.0s +\d\.\ds ago +within [0-3]\.\ds/);
  expect(out).toMatch(/other +- +- +- +- +-/);
  expect(await leaseJson('list', '-p', 'main')).toMatchObject({
    kind: 'LeaseList',
    leases: [{ lease: 'main', row: { token: 1, describedAs: 'host:9' }, age: { renewedAgoMs: expect.any(Number) as number } }],
  });
  await held.abandon();
  expect((await lease('list')).out).toMatch(/main +1 +host:9 +3\.0s +not for [12]\.\ds +within [01]\.\ds/);
  await put(key, { ...dead, holder: null, describedAs: null });
  expect((await lease('list')).out).toMatch(/main +5 +nobody +3\.0s +- +-/);
});

test('describe tells of one lease what else is known, and that its holder is asked to step down', async () => {
  expect((await lease('describe')).code).toBe(2);
  expect((await lease('describe', '-p', 'main')).err).toContain('nobody has ever held the lease of main');
  await put(key, dead);
  await put(controlKeys.checkpoint('main'), { generation: 4, epoch: 2 });
  const { out } = await lease('describe', '-p', 'main');
  for (const line of ['holder: host:1', 'generation: 5', 'generation of the checkpoint: 4', 'epoch: 2', 'renewals: 7'])
    expect(out).toContain(`${line}\n`);
  expect(out).toContain('asked to step down: no');
  const asked = (generation: number): RequestRow => ({ kind: 'lease-step-down', args: { generation }, state: 'pending', result: null });
  await put(controlKeys.stepDown('main'), asked(5));
  expect((await lease('describe', '-p', 'main')).out).toContain('asked to step down: yes');
  // A request to an earlier holder is over.
  await put(controlKeys.stepDown('main'), asked(4));
  expect(await leaseJson('describe', '-p', 'main')).toMatchObject({
    row: { token: 5 },
    age: { renewedAgoMs: null },
    checkpointGeneration: 4,
    stepDownAsked: false,
  });
});

test('step-down waits until another daemon has taken over', async () => {
  const held = await acquired('host:1');
  const [ran, next] = await Promise.all([lease('step-down', '-p', 'main'), answering(held, () => acquired('host:2'))]);
  expect([ran.code, ran.err]).toEqual([0, 'host:2 took over from host:1 with generation 2\n']);
  expect((await control.get(controlKeys.stepDown('main'), never))?.value).toMatchObject({
    kind: 'lease-step-down',
    args: { generation: 1 },
  });
  await next?.release(never);
});

test('step-down ends with 6 where no other daemon wanted the lease', async () => {
  const held = await acquired('host:1');
  const [ran, again] = await Promise.all([lease('step-down', '-p', 'main'), answering(held, () => acquired('host:1'))]);
  expect([ran.code, ran.err]).toEqual([6, expect.stringContaining('no other daemon wanted it')]);
  await again?.release(never);
});

test('step-down that nobody answers in time ends with 5, and goes on', async () => {
  await put(key, dead);
  const silent = await lease('step-down', '-p', 'main', '--timeout', '200ms');
  expect([silent.code, silent.err]).toEqual([5, expect.stringContaining('`causeway lease break` ends that of a dead one')]);
  expect((await control.get(controlKeys.stepDown('main'), never))?.value).toMatchObject({ state: 'pending', args: { generation: 5 } });
  await put(key, { ...dead, holder: null, describedAs: null });
  const nobody = await lease('step-down', '-p', 'main');
  expect([nobody.code, nobody.err]).toEqual([0, expect.stringContaining('nobody holds the lease')]);
});

test('step-down after which nobody comes ends with 5', async () => {
  const held = await acquired('host:1');
  const [ran] = await Promise.all([lease('step-down', '-p', 'main', '--timeout', '1s'), answering(held, null)]);
  expect([ran.code, ran.err]).toEqual([5, expect.stringContaining('nobody has taken it within 1s')]);
});

test("break ends a dead holder's lease before its ttl is over, and its token never starts again", async () => {
  await put(key, dead);
  const broken = await lease('break', '-p', 'main');
  expect([broken.code, broken.err]).toEqual([0, expect.stringContaining('the next generation is 6')]);
  expect(await row()).toEqual({ ...dead, holder: null, describedAs: null });
  expect((await acquired('host:2')).token).toBe(6);
});

test('break is refused while the row still moves; with --force it is done, and the holder notices', async () => {
  const held = await acquired('host:1');
  const refused = await lease('break', '-p', 'main');
  expect([refused.code, refused.err]).toEqual([4, expect.stringContaining('host:1 renews the lease of main, so it lives')]);
  expect(await row()).toMatchObject({ token: 1, describedAs: 'host:1' });
  const forced = await lease('break', '-p', 'main', '--force');
  expect([forced.code, forced.err]).toEqual([0, expect.stringContaining('its process ends with the code 6')]);
  expect(await row()).toMatchObject({ token: 1, holder: null });
  await expect.poll(() => held.ended.aborted, soon).toBe(true);
  expect(held.end.tag).toBe('lost');
  expect(await leaseJson('break', '-p', 'main')).toMatchObject({ kind: 'Lease', broken: false });
});

test('raise and break keep what a later release added to the row', async () => {
  const later = { zone: 'b' };
  await put(key, { ...dead, later });
  expect((await lease('break', '-p', 'main')).code).toBe(0);
  expect(await row()).toMatchObject({ token: 5, holder: null, later });
  expect((await lease('raise', '-p', 'main', '--above', '41')).code).toBe(0);
  expect(await row()).toMatchObject({ token: 41, holder: null, later });
});
