// `node bench/scan.ts source|sink CONFIG TABLE`: reads a table from its first row to its last with the readers that a reconciliation uses, and
// compares nothing. Prints how many rows there were, and the seconds behind the first page's request.
import { present } from '#core/assert.ts';
import type { RowKey } from '#core/key.ts';
import type { RowReader } from '#core/row-reader.ts';
import type { TableId, TableSchema } from '#core/schema.ts';
import type { Sink } from '#core/sink.ts';
import { connectors } from '../connectors/registry.ts';
import { loadConfigFile } from '../src/config/load.ts';
import { defaultReconcileOptions } from '../src/reconcile/deps.ts';
import { createLogger } from '../src/runtime/logger.ts';
import { createLog, createSink, createSource } from '../src/runtime/parts.ts';
import { systemRuntime } from '../src/runtime/runtime.ts';
import { never } from './sink-rows.ts';

const [side, file = '', table = ''] = process.argv.slice(2);
const logger = createLogger({ runtime: systemRuntime, level: 'warn', format: 'text', write: (text) => void process.stderr.write(text) });
const { config } = await loadConfigFile({ file, env: process.env, connectors });
const pipeline = present(config.pipelines[0], 'a pipeline');
const parts = { connectors, runtime: systemRuntime, logger };

await using source = await createSource(pipeline, parts);
await using rows = source.rows();
const { chunkRowsMax, chunkBytesMax } = defaultReconcileOptions;
const first = await page(null, 1);
if (side === 'source') {
  print(await timed(async () => await sourceRows()));
} else {
  await using log = await createLog(pipeline, parts);
  await using sink = await createSink({ pipeline, sink: present(pipeline.sinks[0], 'a sink'), partitions: log.partitions }, parts);
  print(await timed(async () => await sinkRows(sink, first.schema)));
}

async function sourceRows(): Promise<number> {
  let read = 0;
  let after: RowKey | null = null;
  while (true) {
    const next: NonNullable<Awaited<ReturnType<RowReader['read']>>> = await page(after, chunkRowsMax);
    read += next.rows.length;
    if (next.isWhole) return read;
    after = next.rows.at(-1)?.key ?? after;
  }
}

async function sinkRows(sink: Sink, schema: TableSchema): Promise<number> {
  let read = 0;
  for await (const some of sink.scan(schema, { from: null, to: null }, never)) read += some.length;
  return read;
}

async function page(after: RowKey | null, rowsMax: number): Promise<NonNullable<Awaited<ReturnType<RowReader['read']>>>> {
  const range = { tag: 'between', after, upTo: null } as const;
  const read = await rows.read({ table: table as TableId, range, rowsMax, bytesMax: chunkBytesMax, accepts: () => true }, never);
  return present(read, 'a page');
}

async function timed(work: () => Promise<number>): Promise<{ readonly rows: number; readonly seconds: number }> {
  const startMs = performance.now();
  const found = await work();
  return { rows: found, seconds: (performance.now() - startMs) / 1_000 };
}

function print(found: { readonly rows: number; readonly seconds: number }): void {
  console.log(JSON.stringify(found));
}
