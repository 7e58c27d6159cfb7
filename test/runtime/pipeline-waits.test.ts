// What the status says while something does not answer and is tried again: why, since when, and nothing any more once it does.
import { expect, test } from 'vitest';
import { CausewayError } from '#core/errors.ts';
import type { LogEnds } from '#core/log.ts';
import { MemoryLog, MemoryLogStore } from '../support/memory-log.ts';
import { Ground } from './pipeline-ground.ts';

/** A log that is not there before somebody provisions it, like one in a file. */
class LateLog extends MemoryLog {
  #made = false;

  override async provision(signal: AbortSignal): Promise<void> {
    await super.provision(signal);
    this.#made = true;
  }

  override async ends(signal: AbortSignal): Promise<readonly LogEnds[]> {
    if (!this.#made) throw new CausewayError('log_unavailable', 'the log does not exist');
    return super.ends(signal);
  }
}

test('a full log and a sink that does not answer say so, with the time at which that began', async () => {
  const ground = new Ground(new MemoryLog(new MemoryLogStore({ partitions: 4, bytesMax: 20_000 })));
  await ground.clock.advance(5_000);
  expect(ground.status()).toMatchObject({ state: 'streaming', trouble: null, sink: { state: 'running', trouble: null } });
  ground.sinkStore.onCall = (stage, call) => {
    if (stage === 'before' && call.name === 'apply') throw new CausewayError('sink_unavailable', 'the sink is down');
  };
  for (let id = 0; id < 100; id += 1) ground.insert(id);
  await ground.clock.advance(10_000);
  const seen = ground.status();
  expect(seen).toMatchObject({ state: 'retrying', trouble: { code: 'log_full' } });
  expect(seen.sink).toMatchObject({ state: 'retrying', trouble: { code: 'sink_unavailable', message: 'the sink is down' } });
  await ground.clock.advance(60_000);
  const later = ground.status();
  expect([later.trouble, later.sink?.trouble]).toEqual([seen.trouble, seen.sink?.trouble]);
  expect(later.trouble?.sinceWallMs).toBeLessThan(ground.clock.runtime.wallMs() - 60_000);
  // Four partitions and many attempts are one line.
  expect(ground.lines('waiting for what does not answer')).toBe(1);
  ground.sinkStore.onCall = null;
  await ground.clock.advance(30_000);
  expect(ground.status()).toMatchObject({ state: 'streaming', trouble: null, sink: { state: 'running', trouble: null } });
  expect(ground.sinkStore.progress.size).toBe(4);
  await ground.end();
});

test('a full log is never told as one that does not answer', async () => {
  const store = new MemoryLogStore({ partitions: 4, bytesMax: 20_000 });
  const ground = new Ground(new MemoryLog(store));
  await ground.clock.advance(5_000);
  // The append takes a while before it finds the log full: it has waited for long when the log says so.
  store.onAppend = (stage) => (stage === 'before' ? ground.clock.runtime.sleep(1_900, new AbortController().signal) : undefined);
  ground.sinkStore.onCall = (stage, call) => {
    if (stage === 'before' && call.name === 'apply') throw new CausewayError('sink_unavailable', 'the sink is down');
  };
  for (let id = 0; id < 100; id += 1) ground.insert(id);
  const told = new Set<string>();
  const states = new Set<string>();
  for (let step = 0; step < 200; step += 1) {
    await ground.clock.advance(100);
    const { state, trouble } = ground.status();
    states.add(state);
    if (trouble !== null) told.add(trouble.code);
  }
  expect([...told]).toEqual(['log_full']);
  expect([...states]).toEqual(['streaming', 'retrying']);
  ground.sinkStore.onCall = null;
  store.onAppend = null;
  await ground.clock.advance(30_000);
  await ground.end();
});

test('a log that does not answer an append is told as that', async () => {
  const store = new MemoryLogStore({ partitions: 4 });
  const ground = new Ground(new MemoryLog(store));
  await ground.clock.advance(5_000);
  const gate: { open: () => void } = { open: () => undefined };
  store.onAppend = (stage) => (stage === 'before' ? new Promise<void>((resolve) => (gate.open = resolve)) : undefined);
  ground.insert(1);
  await ground.clock.advance(6_000);
  expect(ground.status()).toMatchObject({ state: 'retrying', trouble: { code: 'log_unavailable' } });
  store.onAppend = null;
  gate.open();
  await ground.clock.advance(3_000);
  expect(ground.status()).toMatchObject({ state: 'streaming', trouble: null });
  await ground.end();
});

test('a source that refuses the login is told since its first refusal, in one line, and then at a slow pace', async () => {
  const ground = new Ground();
  await ground.clock.advance(5_000);
  const since = ground.clock.runtime.wallMs();
  ground.database.onCall = (call) => {
    if (call === 'inspect' || call === 'heartbeat') throw new CausewayError('source_credentials', 'the password is wrong');
  };
  ground.database.connection?.fail(new CausewayError('source_unavailable', 'it went away'));
  await ground.clock.advance(120_000);
  const { state, trouble } = ground.status();
  expect([state, trouble?.code, trouble?.message]).toEqual(['retrying', 'source_credentials', 'the password is wrong']);
  expect((trouble?.sinceWallMs ?? 0) - since).toBeLessThan(1_000);
  expect(ground.lines('connecting to the source: trying again')).toBe(1);
  await ground.clock.advance(600_000);
  expect(ground.lines('connecting to the source: trying again')).toBe(3);
  ground.database.onCall = null;
  await ground.clock.advance(30_000);
  expect(ground.status()).toMatchObject({ state: 'streaming', trouble: null });
  await ground.end();
});

test('a first start has nothing to warn of', async () => {
  const ground = new Ground(new LateLog(new MemoryLogStore({ partitions: 4 })));
  await ground.clock.advance(5_000);
  ground.insert(1);
  await ground.clock.advance(5_000);
  expect(ground.status()).toMatchObject({ state: 'streaming', sink: { state: 'running' } });
  expect(ground.sinkStore.progress.size).toBe(4);
  expect(ground.logger.lines.filter(({ level }) => level !== 'info')).toEqual([]);
  await ground.end();
});
