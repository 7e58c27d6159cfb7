// A clean stop against real servers: what capture says that it acknowledged, the slot has to show.
import { expect, test } from 'vitest';
import { controlKeys, type CheckpointRow } from '#core/control-rows.ts';
import { runCapture } from '../../src/capture/capture.ts';
import { defaultCaptureOptions } from '../../src/capture/deps.ts';
import { silentObserver } from '../../src/capture/observer.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import { memoryControlRows, MemoryControlStore } from '../support/memory-control-store.ts';
import { MemoryLog, MemoryLogStore } from '../support/memory-log.ts';
import { postgresSource } from '../support/postgres-source.ts';
import { describePostgres, TestDatabase } from '../support/postgres.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { realRuntime } from '../support/test-runtime.ts';

describePostgres('a clean stop of capture', (major) => {
  test('leaves the slot at the stored checkpoint', async () => {
    const database = await TestDatabase.create(major);
    const controlRows = memoryControlRows();
    const stop = new AbortController();
    const streaming = Promise.withResolvers<undefined>();
    const published = Promise.withResolvers<undefined>();
    try {
      await database.query('CREATE TABLE items (id int PRIMARY KEY)');
      await using source = postgresSource({ url: database.url, pipeline: database.name, tables: ['public.items'] });
      const capture = runCapture(
        {
          pipeline: database.name,
          describedAs: null,
          source,
          log: new MemoryLog(new MemoryLogStore({ partitions: 1, recordBytesMax: 1_000_000 })),
          control: new MemoryControlStore(controlRows),
          codec: jsonCodec,
          runtime: realRuntime(),
          logger: silentLogger,
          observer: {
            ...silentObserver,
            state: ({ tag }) => {
              if (tag === 'streaming') streaming.resolve(undefined);
            },
            read: ({ insert }) => {
              if (insert > 0) published.resolve(undefined);
            },
          },
          sinks: ['warm'],
          snapshotNever: () => false,
          // Nothing is stored or acknowledged before the stop.
          options: { ...defaultCaptureOptions, checkpointIntervalMs: 3_600_000 },
        },
        { stop: stop.signal, kill: new AbortController().signal },
      );
      await streaming.promise;
      await database.query('INSERT INTO items SELECT generate_series(1, 100)');
      await published.promise;
      stop.abort(new Error('stop'));
      await capture;
      const row = JSON.parse(controlRows.rows.get(controlKeys.checkpoint(database.name))?.text ?? 'null') as CheckpointRow | null;
      const [slot] = await database.query<{ lsn: string }>(
        'SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE database = current_database()',
      );
      expect(slot?.lsn).toBe(row?.position);
      await source.deprovision(new AbortController().signal);
    } finally {
      await database.close();
    }
  });
});
