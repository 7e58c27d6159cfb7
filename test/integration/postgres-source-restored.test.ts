// A server that is put back to a copy of its own files keeps its identifier, its timeline and the slot. Once it is written to
// again, the end of its log has passed what was captured: only what we left in it shows that it is another history.
import { execFileSync } from 'node:child_process';
import { renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import { controlKeys, type CheckpointRow } from '#core/control-rows.ts';
import { runCapture } from '../../src/capture/capture.ts';
import { defaultCaptureOptions } from '../../src/capture/deps.ts';
import { silentObserver } from '../../src/capture/observer.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import { memoryControlRows, MemoryControlStore } from '../support/memory-control-store.ts';
import { MemoryLog, MemoryLogStore } from '../support/memory-log.ts';
import { PostgresServer } from '../support/postgres-server.ts';
import { postgresSource } from '../support/postgres-source.ts';
import { soon } from '../support/daemon-ground.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { realRuntime } from '../support/test-runtime.ts';
import { describeNewestPostgres } from '../support/postgres.ts';

const PIPELINE = 'restored';

class Ground implements AsyncDisposable {
  readonly server: PostgresServer;
  readonly #log = new MemoryLog(new MemoryLogStore({ partitions: 1, recordBytesMax: 1_000_000 }));
  readonly #rows = memoryControlRows();

  constructor(server: PostgresServer) {
    this.server = server;
  }

  get checkpoint(): CheckpointRow {
    const row = present(this.#rows.rows.get(controlKeys.checkpoint(PIPELINE)), 'the checkpoint');
    return JSON.parse(row.text) as CheckpointRow;
  }

  /** Captures while `during` runs, and returns what it ended with. Null: a clean stop. */
  async capture(during: (ended: Promise<unknown>) => Promise<unknown>): Promise<unknown> {
    const stop = new AbortController();
    const streaming = Promise.withResolvers<undefined>();
    await using source = postgresSource({ url: this.server.url(), pipeline: PIPELINE, tables: ['public.items'] });
    const ended = runCapture(
      {
        pipeline: PIPELINE,
        describedAs: null,
        source,
        log: this.#log,
        control: new MemoryControlStore(this.#rows),
        codec: jsonCodec,
        runtime: realRuntime(),
        logger: silentLogger,
        observer: { ...silentObserver, state: ({ tag }) => (tag === 'streaming' ? streaming.resolve(undefined) : undefined) },
        sinks: ['warm'],
        snapshotNever: () => false,
        options: { ...defaultCaptureOptions, heartbeatIntervalMs: 50, checkpointIntervalMs: 50, reconnectMaxMs: 500 },
      },
      { stop: stop.signal, kill: new AbortController().signal },
    ).then(
      () => null,
      (error: unknown) => error,
    );
    if ((await Promise.race([ended, streaming.promise])) !== undefined) return await ended;
    await during(ended);
    stop.abort(new Error('stop'));
    return await ended;
  }

  /** Until so many more heartbeats were counted and stored. */
  async heartbeats(more: number): Promise<void> {
    const wanted = (this.checkpoint.heartbeats ?? 0) + more;
    await expect.poll(() => this.checkpoint.heartbeats ?? 0, soon).toBeGreaterThanOrEqual(wanted);
  }

  async copy(): Promise<void> {
    await this.server.stop();
    execFileSync('cp', ['-a', this.server.dataDirectory, join(this.server.directory, 'copy')]);
    await this.server.start();
  }

  /** Puts the copy in place, and writes until the log ends behind everything that was captured. */
  async restore(): Promise<void> {
    await this.server.stop();
    rmSync(this.server.dataDirectory, { recursive: true });
    renameSync(join(this.server.directory, 'copy'), this.server.dataDirectory);
    await this.server.start();
    const isPast = `SELECT pg_current_wal_flush_lsn() > '${this.checkpoint.position}'::pg_lsn AS past`;
    do {
      await this.server.query("INSERT INTO items SELECT 'later ' || random() FROM generate_series(1, 100)");
      await this.server.query('SELECT pg_switch_wal()');
    } while ((await this.server.query<{ past: boolean }>(isPast))[0]?.past !== true);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.dispose();
  }
}

async function ground(major: PostgresServer['major']): Promise<Ground> {
  const server = await PostgresServer.create({ major });
  await server.query('CREATE TABLE items (id text PRIMARY KEY)');
  return new Ground(server);
}

describeNewestPostgres('a source that was put back to a copy of its files', (major) => {
  test('from before the last start of capture lacks the mark of that start', async () => {
    await using g = await ground(major);
    expect(await g.capture(() => g.heartbeats(1))).toBe(null);
    await g.copy();
    expect(
      await g.capture(async () => {
        await g.server.query("INSERT INTO items VALUES ('captured')");
        await g.heartbeats(2);
      }),
    ).toBe(null);
    await g.restore();
    const error = await g.capture(() => Promise.resolve());
    expect(error).toMatchObject({ code: 'source_identity_changed' });
    expect(String(error)).toMatch(/lacks our mark/);
  });

  test('from the middle of a run of capture has counted too few heartbeats', async () => {
    await using g = await ground(major);
    expect(
      await g.capture(async () => {
        await g.heartbeats(2);
        await g.copy();
        await g.heartbeats(5);
        await g.server.query("INSERT INTO items VALUES ('captured')");
        await g.heartbeats(2);
      }),
    ).toBe(null);
    await g.restore();
    const error = await g.capture(() => Promise.resolve());
    expect(error).toMatchObject({ code: 'source_identity_changed' });
    expect(String(error)).toMatch(/heartbeats of ours/);
  });

  test('under a capture that only waits for it to come back is noticed there', async () => {
    await using g = await ground(major);
    const error = await g.capture(async (ended) => {
      await g.heartbeats(2);
      await g.copy();
      await g.heartbeats(20);
      await g.restore();
      await ended;
    });
    expect(error).toMatchObject({ code: 'source_identity_changed' });
  });
});
