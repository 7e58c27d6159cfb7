// Kafka's own producer, as its performance tool drives it: the ceiling for whoever writes into the same broker.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { javaCommand } from '../test/support/kafka-cluster.ts';
import type { BenchKafka } from './kafka.ts';
import type { Measured } from './pairs.ts';
import { UsageMeter } from './usage.ts';

/** As bin/kafka-producer-perf-test.sh sets it. */
const toolJava = ['-Xmx512M'];
/** As large as our batches, gathered for as long as we gather. */
const BATCH_BYTES = 1024 * 1024;
const LINGER_MS = 10;
/** The tool's last line. What comes before it are lines of the last five seconds each. */
const SUMMARY = /^(\d+) records sent, ([\d.]+) records\/sec .* avg latency/;

export type ToolRun = {
  readonly topic: string;
  readonly rows: number;
  readonly compression: string;
  /** A file with a value a line, of which the tool takes any for each record. */
  readonly payloads: string;
};

/** Its own figure: from its first send to the last reply. Without keys, so that it fills one partition's batch after the other. */
export async function producerTool(kafka: BenchKafka, { topic, rows, compression, payloads }: ToolRun): Promise<Measured> {
  await kafka.makeTopic(topic);
  const { command, args } = javaCommand(
    'org.apache.kafka.tools.ProducerPerformance',
    [
      ...['--topic', topic, '--num-records', String(rows), '--throughput', '-1', '--payload-file', payloads, '--producer-props'],
      ...[`bootstrap.servers=${kafka.cluster.addresses.join(',')}`, 'acks=all', 'enable.idempotence=true'],
      ...[`compression.type=${compression}`, `batch.size=${BATCH_BYTES}`, `linger.ms=${LINGER_MS}`],
    ],
    toolJava,
  );
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  if (child.pid === undefined) throw new Error('java was not found');
  const meter = new UsageMeter([{ name: 'producer tool', pid: child.pid }, kafka.watched]);
  const exited = once(child, 'exit') as Promise<[number | null]>;
  const [printed, [code]] = await Promise.all([text(child.stdout), exited]);
  const usage = meter.stop();
  const summary = SUMMARY.exec(printed.trim().split('\n').at(-1) ?? '');
  if (code !== 0 || Number(summary?.[1]) !== rows) throw new Error(`the tool ended with ${String(code)}:\n${printed}`);
  const written = await kafka.recordsIn(topic);
  if (written !== rows) throw new Error(`the tool wrote ${written} records instead of ${rows}`);
  return { rows, seconds: rows / Number(summary?.[2]), usage };
}
