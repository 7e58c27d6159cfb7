// A commit that waits for a synchronous standby stands in the log of the source, and no snapshot shows it yet (counterexample 7).
import { expect, test } from 'vitest';
import { runCapture } from '../../src/capture/capture.ts';
import { defaultCaptureOptions } from '../../src/capture/deps.ts';
import { silentObserver } from '../../src/capture/observer.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import { soon } from '../support/daemon-ground.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { MemoryLog, MemoryLogStore } from '../support/memory-log.ts';
import { PostgresServer } from '../support/postgres-server.ts';
import { postgresSource } from '../support/postgres-source.ts';
import { describeNewestPostgres } from '../support/postgres.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { realRuntime } from '../support/test-runtime.ts';

describeNewestPostgres('a first start while the standby stalls', (major) => {
  test('takes no table for empty whose first row is only waiting for the standby', async () => {
    await using server = await PostgresServer.create({ major });
    await server.query('CREATE TABLE items (id text PRIMARY KEY)');
    await server.query("ALTER SYSTEM SET synchronous_standby_names = 'stalled'");
    await server.query('SELECT pg_reload_conf()');
    const writer = await server.connect();
    const waiting = (event: string): Promise<readonly unknown[]> =>
      server.query(`SELECT FROM pg_stat_activity WHERE wait_event_type || '/' || wait_event = '${event}'`);
    const written = writer.query("INSERT INTO items VALUES ('early')");
    await expect.poll(() => waiting('IPC/SyncRep'), soon).toHaveLength(1);
    await using source = postgresSource({ url: server.url(), pipeline: 'stalled', tables: ['public.items'] });
    expect((await source.inspect(AbortSignal.timeout(60_000))).tables.map(({ holdsRows }) => holdsRows)).toEqual([false]);
    const streams = Promise.withResolvers<'streams'>();
    const ended = runCapture(
      {
        pipeline: 'stalled',
        describedAs: null,
        source,
        log: new MemoryLog(new MemoryLogStore({ partitions: 1, recordBytesMax: 1_000_000 })),
        control: new MemoryControlStore(),
        codec: jsonCodec,
        runtime: realRuntime(),
        logger: silentLogger,
        observer: { ...silentObserver, state: ({ tag }) => (tag === 'streaming' ? streams.resolve('streams') : undefined) },
        sinks: ['warm'],
        snapshotNever: () => false,
        options: defaultCaptureOptions,
      },
      { stop: new AbortController().signal, kill: new AbortController().signal },
    ).then(
      () => null,
      (error: unknown) => error,
    );
    // The slot begins behind the commit, and is there only once the commit shows.
    await expect.poll(() => waiting('Lock/transactionid'), soon).toHaveLength(1);
    await server.query('ALTER SYSTEM RESET synchronous_standby_names');
    await server.query('SELECT pg_reload_conf()');
    expect(await Promise.race([ended, streams.promise])).toMatchObject({ code: 'table_not_empty' });
    await written;
    await writer.end();
    expect(await server.query('SELECT FROM pg_replication_slots')).toEqual([]);
  });
});
