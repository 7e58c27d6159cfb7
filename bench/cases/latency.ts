// Commit to visible under a steady load of 1,000 rows a second, as somebody sees it who writes a row and looks for it.
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { Arena, postmasterOf, type PipelineOptions, until } from '../arena.ts';
import { compareLatencies, type Measured, type Result } from '../pairs.ts';
import { quantilesOf } from '../quantiles.ts';
import { UsageMeter, type Watched } from '../usage.ts';
import { subscribe, unsubscribe } from './backlog.ts';

const GOAL = 4;
export const ROWS_PER_TRANSACTION = 10;
export const TRANSACTIONS_PER_SECOND = 100;
export const WARM_UP_MS = 3_000;
export const PROBE_EVERY_MS = 20;
const LOOK_EVERY_MS = 1;

export async function latencyCase({ runs, seconds }: { readonly runs: number; readonly seconds: number }): Promise<Result[]> {
  await using arena = await Arena.create();
  const result = await compareLatencies(
    {
      name: 'latency',
      what: `commit to visible at ${ROWS_PER_TRANSACTION * TRANSACTIONS_PER_SECOND} rows/s for ${seconds} s, ${ROWS_PER_TRANSACTION} rows a transaction, sidecar`,
      reference: 'subscription',
      runs,
      ours: (run) => throughCauseway(arena, { pipeline: `run${run}`, seconds }),
      theirs: (run) => throughSubscription(arena, `reference${run}`, seconds),
    },
    GOAL,
  );
  return [result];
}

export type CausewayRun = {
  readonly pipeline: string;
  readonly seconds: number;
  readonly options?: PipelineOptions;
  /** Besides daemon, source and sink. */
  readonly others?: readonly Watched[];
};

export async function throughCauseway(arena: Arena, { pipeline, seconds, options, others }: CausewayRun): Promise<Measured> {
  await arena.client.query('TRUNCATE bench.item, bench.pulse');
  const copy = await arena.makeCopy(pipeline, false);
  const daemon = await arena.start(pipeline, 'capture,apply', { ...options, sinkDatabase: pipeline });
  await arena.untilActive(`causeway_${pipeline}`, daemon);
  await until(() => daemon.isStreaming(), `${pipeline} streams`, daemon);
  await arena.untilSql('SELECT 1 FROM pg_class WHERE oid = to_regclass($$bench.pulse$$)', copy, daemon);
  const meter = new UsageMeter([
    { name: 'causeway', pid: daemon.pid },
    ...(others ?? []),
    { name: 'source', pid: postmasterOf(arena.source), children: true },
    { name: 'sink', pid: postmasterOf(arena.sink), children: true },
  ]);
  const measured = await loadAndLook(arena, copy, seconds);
  const usage = meter.stop();
  await daemon.stop();
  await arena.dropSlot(`causeway_${pipeline}`);
  await copy.end();
  return { ...measured, usage };
}

export async function throughSubscription(arena: Arena, name: string, seconds: number): Promise<Measured> {
  await arena.client.query('TRUNCATE bench.item, bench.pulse');
  const copy = await arena.makeCopy(name, true);
  await arena.makeSlot(name);
  await subscribe(arena, copy, name);
  await copy.query(`ALTER SUBSCRIPTION ${name} ENABLE`);
  await arena.untilActive(name);
  const meter = new UsageMeter([
    { name: 'source', pid: postmasterOf(arena.source), children: true },
    { name: 'sink', pid: postmasterOf(arena.sink), children: true },
  ]);
  const measured = await loadAndLook(arena, copy, seconds);
  const usage = meter.stop();
  await unsubscribe(copy, name);
  await arena.dropSlot(name);
  await copy.end();
  return { ...measured, usage };
}

async function loadAndLook(arena: Arena, copy: pg.Client, seconds: number): Promise<Omit<Measured, 'usage'>> {
  const writer = await arena.source.connect('bench');
  const prober = await arena.source.connect('bench');
  const ended = new AbortController();
  const outstanding = new Map<number, number>();
  const latencies: number[] = [];
  const startMs = performance.now();
  const endMs = startMs + WARM_UP_MS + seconds * 1_000;
  let rows = 0;

  const write = async (): Promise<void> => {
    for (let transaction = 0; performance.now() < endMs; transaction += 1) {
      await sleep(Math.max(0, startMs + (transaction * 1_000) / TRANSACTIONS_PER_SECOND - performance.now()));
      await writer.query(
        `INSERT INTO bench.item SELECT id, id % 1000, 'open', 1, now(), bench.words(id, 1)
         FROM generate_series(${transaction * ROWS_PER_TRANSACTION}, ${transaction * ROWS_PER_TRANSACTION + ROWS_PER_TRANSACTION - 1}) id`,
      );
      rows += ROWS_PER_TRANSACTION;
    }
  };
  const probe = async (): Promise<void> => {
    for (let id = 1; performance.now() < endMs; id += 1) {
      await prober.query({ name: 'probe', text: 'INSERT INTO bench.pulse VALUES ($1)', values: [id] });
      // From when the commit was answered: the copy can have it by then already.
      outstanding.set(id, performance.now());
      await sleep(PROBE_EVERY_MS);
    }
  };
  const look = async (): Promise<void> => {
    while (!ended.signal.aborted) {
      if (outstanding.size > 0) {
        const asked = [...outstanding.keys()];
        const found = await copy.query<{ id: number }>({
          name: 'look',
          text: 'SELECT id FROM bench.pulse WHERE id = ANY($1)',
          values: [asked],
        });
        const nowMs = performance.now();
        for (const { id } of found.rows) {
          const sentMs = outstanding.get(id) ?? nowMs;
          outstanding.delete(id);
          if (sentMs - startMs > WARM_UP_MS) latencies.push(nowMs - sentMs);
        }
      }
      await sleep(LOOK_EVERY_MS);
    }
  };
  const looking = look();
  await Promise.all([write(), probe()]);
  await until(() => Promise.resolve(outstanding.size === 0), 'all probes seen');
  ended.abort();
  await looking;
  const elapsed = (performance.now() - startMs) / 1_000;
  await Promise.all([writer.end(), prober.end()]);
  return { rows, seconds: elapsed, latencyMs: quantilesOf(latencies) };
}
