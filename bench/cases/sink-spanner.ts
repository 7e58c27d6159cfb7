// The Spanner sink beside a bare loop of the same transactions, over an emulator of their own. It runs one of them at a time, so that both
// take one partition.
import type { Database } from '@google-cloud/spanner';
import { configSchema } from '../../connectors/sink-spanner/config.ts';
import { SpannerSink } from '../../connectors/sink-spanner/sink.ts';
import { systemRuntime } from '../../src/runtime/runtime.ts';
import { silentLogger } from '../../test/support/silent-logger.ts';
import { SpannerEmulator } from '../../test/support/spanner-emulator.ts';
import { compareRates, type Measured, type Result } from '../pairs.ts';
import { applyAll, changeOf, never, schema, sequence, valuesOf, type Values } from '../sink-rows.ts';

const GOAL = 0.85;
const place = { project: 'bench-project', instance: 'bench' };
/** As the sink writes them by default. */
const BATCH_ROWS = 500;

export async function sinkSpannerCase({ runs, rows }: { readonly runs: number; readonly rows: number }): Promise<Result[]> {
  await using emulator = await SpannerEmulator.create();
  // What the client does at the service, and an emulator does not know.
  Object.assign(process.env, {
    SPANNER_EMULATOR_HOST: new URL(emulator.endpoint).host,
    GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS: 'false',
    GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS_FOR_RW: 'false',
    GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS_PARTITIONED_OPS: 'false',
    METADATA_SERVER_DETECTION: 'none',
    SPANNER_DISABLE_BUILTIN_METRICS: 'true',
  });
  const { Spanner } = await import('@google-cloud/spanner');
  const spanner = new Spanner({ projectId: place.project });
  const instance = spanner.instance(place.instance);
  const [, made] = await spanner.createInstance(place.instance, { config: 'emulator-config', nodes: 1 });
  await made.promise();
  const all = Array.from({ length: rows }, (_, id) => valuesOf(id));
  const changes = all.map(changeOf);
  let databases = 0;
  /** A database of its own, with the sink's tables. */
  const prepared = async (): Promise<{ readonly sink: SpannerSink; readonly name: string }> => {
    databases += 1;
    const name = `bench${databases}`;
    const [, databaseMade] = await instance.createDatabase(name);
    await databaseMade.promise();
    const config = configSchema.parse({
      ...{ kind: 'spanner', ...place, database: name, endpoint: emulator.endpoint },
      ...{ provision: 'create', batchRows: BATCH_ROWS },
    });
    const sink = new SpannerSink({
      config,
      ...{ pipeline: 'bench', sink: 'bench', partitions: 1 },
      target: (table) => table,
      onRetry: () => undefined,
      context: { runtime: systemRuntime, logger: silentLogger },
    });
    await sink.provision([schema], never);
    await sink.claim({ owner: 'bench', known: true }, never);
    return { sink, name };
  };
  const ours = async (): Promise<Measured> => {
    const { sink } = await prepared();
    await using used = sink;
    return await measured(() => applyAll(used, changes, { partitions: 1, batchRows: BATCH_ROWS }));
  };
  const theirs = async (): Promise<Measured> => {
    const { sink, name } = await prepared();
    await (await sink.assign(0, never))[Symbol.asyncDispose]();
    await sink[Symbol.asyncDispose]();
    const database = instance.database(name);
    const found = await measured(() => bareLoop(database, all));
    await database.close();
    return found;
  };
  const what = `${rows} rows, ${BATCH_ROWS} in a transaction`;
  const result = await compareRates({ name: 'sink-spanner', what, reference: 'bare loop of the client', runs, ours, theirs }, GOAL);
  await spanner.close();
  return [result];
}

async function measured(work: () => Promise<number>): Promise<Measured> {
  const before = process.threadCpuUsage();
  const startMs = performance.now();
  const rows = await work();
  const seconds = (performance.now() - startMs) / 1_000;
  const { user, system } = process.threadCpuUsage(before);
  console.error(`    ${((user + system) / rows).toFixed(1)} µs of CPU a row`);
  return {
    rows,
    seconds,
    usage: [{ name: 'client', processes: 1, cpuSeconds: (user + system) / 1e6, peakMiB: process.memoryUsage().rss / 2 ** 20 }],
  };
}

/** Looks at the partition and at the versions, writes what is newer, and the partition. */
async function bareLoop(database: Database, all: readonly Values[]): Promise<number> {
  const seq = Buffer.from(sequence, 'hex');
  let writes = 0;
  for (let from = 0; from < all.length; from += BATCH_ROWS) {
    const batch = all.slice(from, from + BATCH_ROWS);
    writes += 1;
    await database.runTransactionAsync(async (transaction) => {
      const partitionKey = ['bench', 'bench', '0'];
      const [held] = await transaction.read('causeway_partitions', {
        columns: ['owner', 'token', 'writes', 'progress'],
        keys: [partitionKey],
      });
      if (held.length !== 1) throw new Error('no partition');
      const keys = batch.map(([id]) => [id]);
      const [versions] = await transaction.read('cw_v_item', { columns: ['id', 'cw_seq', 'cw_deleted'], keys, json: true });
      const known = new Map((versions as unknown as { id: unknown; cw_seq: Buffer }[]).map((one) => [String(one.id), one.cw_seq]));
      const newer = batch.filter(([id]) => (known.get(id)?.compare(seq) ?? -1) < 0);
      transaction.replace(
        'cw_v_item',
        newer.map(([id]) => ({ id, cw_seq: seq, cw_deleted: false })),
      );
      transaction.replace(
        'item',
        newer.map(([id, account, status, amount, changed_at, payload]) => ({ id, account, status, amount, changed_at, payload })),
      );
      transaction.update('causeway_partitions', { pipeline: 'bench', sink: 'bench', partition_number: '0', writes: String(writes) });
      await transaction.commit();
    });
  }
  return all.length;
}
