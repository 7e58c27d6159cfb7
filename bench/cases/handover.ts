// Two daemons of one pipeline: for how long nothing new appears at the sink when the one that captures stops, or is killed.
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { Arena, type PipelineOptions, until } from '../arena.ts';
import type { BenchDaemon } from '../daemon.ts';
import { BenchKafka } from '../kafka.ts';

const WRITE_EVERY_MS = 10;
const LOOK_EVERY_MS = 2;
/** A probe that was written this long after the change of holders shows that the next one works. */
const SETTLED_MS = 1_000;
const CLEAN_GOAL_MS = 2_000;
const KILLED_GOAL_MS = 2_000;

/** Less than the shortest lease. */
const REQUEST_TIMEOUT = '2s';

type How = 'stop' | 'kill';

type Round = { readonly how: How; readonly gapMs: number };

export type HandoverResult = {
  readonly name: string;
  readonly what: string;
  readonly ttlMs: number;
  readonly goalMs: number;
  readonly reached: boolean;
  readonly gapsMs: readonly number[];
  readonly loadAverage: number;
};

/** The sink's watermark is the newest row below which none is missing: the gap is the greatest age of what comes next. */
export async function handoverCase({
  runs,
  log,
}: {
  readonly runs: number;
  readonly log: 'embedded' | 'kafka';
}): Promise<HandoverResult[]> {
  await using kafka = log === 'kafka' ? await BenchKafka.create() : null;
  await using arena = await Arena.create();
  const results: HandoverResult[] = [];
  for (const ttlMs of [3_000, 15_000]) {
    const pipeline = `lease${ttlMs}`;
    const options = {
      leaseTtl: `${ttlMs / 1_000}s`,
      ...(kafka === null ? {} : { log: { ...kafka.logIn(pipeline, 'zstd'), requestTimeout: REQUEST_TIMEOUT } }),
    };
    const rounds = await roundsWith(arena, pipeline, { options, runs });
    for (const how of ['stop', 'kill'] as const) {
      const gapsMs = rounds.filter((round) => round.how === how).map(({ gapMs }) => gapMs);
      const goalMs = how === 'stop' ? CLEAN_GOAL_MS : ttlMs + KILLED_GOAL_MS;
      const what = `${how === 'stop' ? 'a clean stop' : 'SIGKILL'} of the daemon that captures, with a lease of ${ttlMs / 1_000} s, log ${log}`;
      const reached = gapsMs.every((gapMs) => gapMs <= goalMs);
      results.push({ name: `handover-${log}-${how}-${ttlMs}`, what, ttlMs, goalMs, reached, gapsMs, loadAverage: loadavg()[0] ?? 0 });
      print(results.at(-1));
    }
  }
  return results;
}

function print(result: HandoverResult | undefined): void {
  if (result === undefined) return;
  const sorted = [...result.gapsMs].sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
  console.log(`\n${result.name}: ${result.what}`);
  console.log(`  nothing new at the sink for ${sorted.map((gap) => gap.toFixed(0)).join(', ')} ms; median ${median.toFixed(0)} ms`);
  console.log(`  goal ${result.goalMs} ms ${result.reached ? 'reached' : 'NOT REACHED'}; load average ${result.loadAverage.toFixed(1)}`);
}

async function roundsWith(
  arena: Arena,
  pipeline: string,
  of: { readonly options: PipelineOptions; readonly runs: number },
): Promise<Round[]> {
  await arena.client.query('TRUNCATE bench.item, bench.pulse');
  const copy = await arena.makeCopy(pipeline, false);
  const start = (): Promise<BenchDaemon> => arena.start(pipeline, 'capture,apply', { ...of.options, sinkDatabase: pipeline });
  let holder = await start();
  await until(() => holder.isIn('streaming'), `${pipeline} streams`, holder);
  await arena.untilSql('SELECT 1 FROM pg_class WHERE oid = to_regclass($$bench.pulse$$)', copy, holder);
  const pulse = new Pulse(await arena.source.connect('bench'), copy);
  const rounds: Round[] = [];
  for (let run = 0; run < of.runs; run += 1) {
    for (const how of ['stop', 'kill'] as const) {
      const standby = await start();
      await until(() => standby.isIn('standby'), 'the second one stands by', standby);
      await pulse.untilSeen(standby);
      pulse.forget();
      if (how === 'stop') await holder.stop();
      else await holder.kill();
      await until(() => standby.isIn('streaming'), 'the standby took over', standby);
      await sleep(SETTLED_MS);
      await pulse.untilSeen(standby);
      rounds.push({ how, gapMs: pulse.longestGapMs });
      holder = standby;
    }
  }
  await pulse.end();
  await holder.stop();
  await arena.dropSlot(`causeway_${pipeline}`);
  await copy.end();
  return rounds;
}

/** Writes a row every few milliseconds, looks how far the sink has all of them, and keeps how old the first one that it lacks became. */
class Pulse {
  readonly #source: pg.Client;
  readonly #copy: pg.Client;
  readonly #ended = new AbortController();
  readonly #running: Promise<unknown>;
  #written = 0;
  #seen = 0;
  /** When each row was committed, by its id. */
  readonly #committedAt = new Map<number, number>();
  #longest = 0;

  constructor(source: pg.Client, copy: pg.Client) {
    this.#source = source;
    this.#copy = copy;
    this.#running = Promise.all([this.#write(), this.#look()]);
  }

  get longestGapMs(): number {
    return this.#longest;
  }

  forget(): void {
    this.#longest = 0;
  }

  /** Until a row that is written from now on is at the sink. */
  async untilSeen(daemon: BenchDaemon): Promise<void> {
    const next = this.#written + 1;
    await until(() => Promise.resolve(this.#seen >= next), 'a row that was just written is at the sink', daemon);
  }

  async end(): Promise<void> {
    this.#ended.abort();
    await this.#running;
    await this.#source.end();
  }

  async #write(): Promise<void> {
    while (!this.#ended.signal.aborted) {
      await this.#source.query({ name: 'pulse', text: 'INSERT INTO bench.pulse VALUES ($1)', values: [this.#written + 1] });
      this.#written += 1;
      this.#committedAt.set(this.#written, performance.now());
      await sleep(WRITE_EVERY_MS);
    }
  }

  async #look(): Promise<void> {
    while (!this.#ended.signal.aborted) {
      const { rows } = await this.#copy.query<{ id: number }>({
        name: 'look',
        text: 'SELECT id FROM bench.pulse WHERE id > $1',
        values: [this.#seen],
      });
      const nowMs = performance.now();
      // Also while it stands still, so that a gap that never ends shows.
      this.#longest = Math.max(this.#longest, nowMs - (this.#committedAt.get(this.#seen + 1) ?? nowMs));
      const found = new Set(rows.map(({ id }) => id));
      // As far as nothing is missing: the keys are spread over partitions.
      while (found.has(this.#seen + 1)) {
        this.#seen += 1;
        this.#committedAt.delete(this.#seen);
      }
      await sleep(LOOK_EVERY_MS);
    }
  }
}
