// A prepared backlog captured into Kafka, beside the embedded log and beside what Kafka's own producer writes of the same records.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { kafkaLog } from '../../test/support/kafka-log.ts';
import { offsetOf } from '#core/position.ts';
import { Arena } from '../arena.ts';
import { BenchKafka, PARTITIONS } from '../kafka.ts';
import { writeBacklog } from '../load.ts';
import { type Contestant, pairsOf, ratesResult, type Result, takeTurns } from '../pairs.ts';
import { captureInto, recordsIn } from './capture.ts';
import { producerTool } from '../producer-tool.ts';

const compressions = ['zstd', 'lz4'] as const;
const EMBEDDED = 'embedded log';
const PAYLOADS_MAX = 20_000;
const WARM_UP = 'warmup';

export async function captureKafkaCase(options: { readonly runs: number; readonly rows: number }): Promise<Result[]> {
  await using kafka = await BenchKafka.create();
  await using arena = await Arena.create();
  const names = [...compressions, 'embedded'];
  await arena.prepare(WARM_UP, { log: kafka.logIn(WARM_UP, 'none') });
  for (let run = 0; run < options.runs; run += 1) {
    for (const kind of names) {
      const pipeline = `${kind}${run}`;
      await arena.prepare(pipeline, kind === 'embedded' ? {} : { log: kafka.logIn(pipeline, kind) });
    }
  }
  const rows = await writeBacklog(arena.client, 'thousands', options.rows);
  const others = [kafka.watched];
  const into = (pipeline: string, compression: string) =>
    captureInto(arena, {
      pipeline,
      rows,
      options: { log: kafka.logIn(pipeline, compression) },
      records: () => kafka.recordsIn(pipeline),
      others,
    });
  // Once before anything is measured: the broker gets warm, and what stands in its topic then is what the tool sends.
  await into(WARM_UP, 'none');
  const payloads = join(arena.folder, 'payloads');
  await writePayloads(kafka, payloads);

  const tool = (compression: string): string => `producer tool, ${compression}`;
  const turns = await takeTurns('capture-kafka', options.runs, [
    ...compressions.flatMap((compression): Contestant[] => [
      { name: compression, measure: (run) => into(`${compression}${run}`, compression) },
      {
        name: tool(compression),
        measure: (run) => producerTool(kafka, { topic: `tool-${compression}${run}`, rows, compression, payloads }),
      },
    ]),
    {
      name: EMBEDDED,
      measure: (run) => {
        const pipeline = `embedded${run}`;
        return captureInto(arena, { pipeline, rows, records: () => Promise.resolve(recordsIn(arena.filesOf(pipeline).log)) });
      },
    },
  ]);
  return compressions.flatMap((compression) =>
    [EMBEDDED, tool(compression)].map((reference) =>
      ratesResult(
        {
          name: `capture-kafka-${compression}`,
          what: `a backlog of ${rows} row changes, 1,000 a transaction, into ${PARTITIONS} partitions of Kafka, ${compression}`,
          reference,
          pairs: pairsOf(turns, compression, reference),
        },
        null,
      ),
    ),
  );
}

/** The values of real records, one a line: JSON has no line ends of its own. */
async function writePayloads(kafka: BenchKafka, path: string): Promise<void> {
  await using log = kafkaLog({ brokers: kafka.cluster.addresses, topic: WARM_UP, partitions: PARTITIONS });
  const lines: string[] = [];
  const signal = new AbortController().signal;
  for await (const { records } of log.read(0, offsetOf(0), signal)) {
    for (const { value } of records) lines.push(Buffer.from(value).toString());
    if (lines.length >= PAYLOADS_MAX) break;
  }
  writeFileSync(path, lines.slice(0, PAYLOADS_MAX).join('\n'));
}
