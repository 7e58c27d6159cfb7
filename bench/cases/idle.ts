// What a daemon costs while nobody writes at its source: its share of one processor, with its log in Kafka and with the embedded one.
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { Arena, type PipelineOptions, postmasterOf, until } from '../arena.ts';
import { BenchKafka } from '../kafka.ts';
import { spreadOf, type Spread } from '../pairs.ts';
import { printUsage } from '../report.ts';
import { cpuSecondsOf, type Usage, UsageMeter } from '../usage.ts';

const GOAL_SHARE = 0.01;
/** What a process still does after its start is not what it does when it is idle. */
const SETTLE_MS = 10_000;

export type IdleResult = {
  readonly name: string;
  readonly what: string;
  readonly goalShare: number;
  readonly reached: boolean;
  /** Of one processor. */
  readonly share: Spread;
  readonly loadAverage: number;
};

type Idle = { readonly share: number; readonly usage: readonly Usage[] };

export async function idleCase({ runs, seconds }: { readonly runs: number; readonly seconds: number }): Promise<IdleResult[]> {
  await using kafka = await BenchKafka.create();
  await using arena = await Arena.create();
  const found = { kafka: [] as Idle[], embedded: [] as Idle[] };
  for (let run = 0; run < runs; run += 1) {
    const topic = `kafka${run}`;
    found.kafka.push(await idle(arena, { pipeline: topic, seconds, kafka, options: { log: kafka.logIn(topic, 'zstd') } }));
    found.embedded.push(await idle(arena, { pipeline: `embedded${run}`, seconds, kafka, options: {} }));
  }
  return (['kafka', 'embedded'] as const).map((kind) => {
    const share = spreadOf(found[kind].map((one) => one.share));
    const result = {
      name: `idle-${kind}`,
      what: `a daemon with ${kind === 'kafka' ? 'its log in Kafka' : 'the embedded log'}, capture and apply, idle for ${seconds} s`,
      goalShare: GOAL_SHARE,
      reached: share.median < GOAL_SHARE,
      share,
      loadAverage: loadavg()[0] ?? 0,
    };
    print(result, found[kind].at(-1)?.usage ?? []);
    return result;
  });
}

type IdleRun = {
  readonly pipeline: string;
  readonly seconds: number;
  readonly kafka: BenchKafka;
  readonly options: PipelineOptions;
};

async function idle(arena: Arena, { pipeline, seconds, kafka, options }: IdleRun): Promise<Idle> {
  const copy = await arena.makeCopy(pipeline, false);
  const daemon = await arena.start(pipeline, 'capture,apply', { ...options, sinkDatabase: pipeline });
  await until(() => daemon.isStreaming(), `${pipeline} streams`, daemon);
  await arena.untilSql('SELECT 1 FROM pg_class WHERE oid = to_regclass($$bench.pulse$$)', copy, daemon);
  await copy.end();
  await sleep(SETTLE_MS);
  const meter = new UsageMeter([
    { name: 'causeway', pid: daemon.pid },
    kafka.watched,
    { name: 'source', pid: postmasterOf(arena.source), children: true },
    { name: 'sink', pid: postmasterOf(arena.sink), children: true },
  ]);
  const startMs = performance.now();
  const before = cpuSecondsOf(daemon.pid);
  await sleep(seconds * 1_000);
  const after = cpuSecondsOf(daemon.pid);
  const elapsed = (performance.now() - startMs) / 1_000;
  const usage = meter.stop();
  if (before === null || after === null) throw new Error(`the daemon ended while it was idle\n${daemon.tail}`);
  await daemon.stop();
  await arena.dropSlot(`causeway_${pipeline}`);
  const share = (after - before) / elapsed;
  console.error(`${pipeline.padEnd(24)} ${(share * 100).toFixed(2)} % of a processor`);
  return { share, usage };
}

function print({ name, what, share, reached, loadAverage }: IdleResult, usage: readonly Usage[]): void {
  const percent = (part: number): string => `${(part * 100).toFixed(2)} %`;
  console.log(`\n${name}: ${what}`);
  console.log(`  ${percent(share.median)} of a processor (${percent(share.least)} to ${percent(share.greatest)})`);
  console.log(`  goal less than ${percent(GOAL_SHARE)} ${reached ? 'reached' : 'NOT REACHED'}; load average ${loadAverage.toFixed(1)}`);
  printUsage('last run', usage);
}
