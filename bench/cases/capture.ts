// A prepared backlog captured into the embedded log, beside pg_recvlogical draining a slot that was made at the same point.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { DatabaseSync } from 'node:sqlite';
import { Arena, postmasterOf, type PipelineOptions, until } from '../arena.ts';
import { finishRows, writeBacklog } from '../load.ts';
import { compareRates, type Measured, type Result } from '../pairs.ts';
import { UsageMeter, type Watched } from '../usage.ts';

const GOAL = 0.8;

export async function captureCase(options: { readonly runs: number; readonly rows: number }): Promise<Result[]> {
  await using arena = await Arena.create();
  for (let run = 0; run < options.runs; run += 1) {
    await arena.prepare(`run${run}`);
    await arena.makeSlot(`reference${run}`);
  }
  const rows = await writeBacklog(arena.client, 'thousands', options.rows);
  const result = await compareRates(
    {
      name: 'capture',
      what: `a backlog of ${rows} row changes, 1,000 a transaction, into the embedded log`,
      reference: 'pg_recvlogical',
      runs: options.runs,
      ours: (run) => capture(arena, `run${run}`, rows),
      theirs: (run) => drain(arena, `reference${run}`, rows),
    },
    GOAL,
  );
  return [result];
}

async function capture(arena: Arena, pipeline: string, rows: number): Promise<Measured> {
  const { log } = arena.filesOf(pipeline);
  return await captureInto(arena, { pipeline, rows, records: () => Promise.resolve(recordsIn(log)) });
}

export type CaptureRun = {
  readonly pipeline: string;
  readonly rows: number;
  readonly options?: PipelineOptions;
  /** How many are durable in its log. */
  readonly records: () => Promise<number>;
  /** Besides daemon and source. */
  readonly others?: readonly Watched[];
};

export async function captureInto(arena: Arena, { pipeline, rows, options, records, others }: CaptureRun): Promise<Measured> {
  const slot = `causeway_${pipeline}`;
  const daemon = await arena.start(pipeline, 'capture', options);
  const meter = new UsageMeter([
    { name: 'causeway', pid: daemon.pid },
    ...(others ?? []),
    { name: 'source', pid: postmasterOf(arena.source), children: true },
  ]);
  const startMs = await arena.untilActive(slot, daemon);
  const endMs = await until(async () => (await records()) >= rows + finishRows, 'everything captured', daemon);
  const usage = meter.stop();
  await daemon.stop();
  await arena.dropSlot(slot);
  return { rows, seconds: (endMs - startMs) / 1_000, usage };
}

/** A few records are the log's own, which is too few to matter. */
export function recordsIn(path: string): number {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    return Number(database.prepare('SELECT coalesce(sum(count), 0) AS records FROM block').get()?.['records']);
  } finally {
    database.close();
  }
}

async function drain(arena: Arena, slot: string, rows: number): Promise<Measured> {
  const { rows: found } = await arena.client.query<{ lsn: string }>('SELECT pg_current_wal_lsn()::text AS lsn');
  // Something behind the end, so that the server has a message to send there.
  await arena.client.query("SELECT pg_logical_emit_message(true, 'bench', 'end')");
  const client = spawn(
    'pg_recvlogical',
    [
      ...['--host=127.0.0.1', `--port=${arena.source.port}`, `--username=${arena.source.user}`, '--dbname=bench', `--slot=${slot}`],
      ...['--start', '--file=/dev/null', `--endpos=${found[0]?.lsn ?? ''}`, '--no-loop'],
      ...['--option=proto_version=1', '--option=publication_names=reference', '--option=messages=true'],
    ],
    { env: { PATH: process.env['PATH'], PGPASSWORD: arena.source.password }, stdio: ['ignore', 'ignore', 'inherit'] },
  );
  if (client.pid === undefined) throw new Error("pg_recvlogical was not found: it is in Debian's postgresql packages");
  const exited = once(client, 'exit');
  const meter = new UsageMeter([
    { name: 'pg_recvlogical', pid: client.pid },
    { name: 'source', pid: postmasterOf(arena.source), children: true },
  ]);
  const startMs = await arena.untilActive(slot);
  const [code] = (await exited) as [number | null];
  const endMs = performance.now();
  if (code !== 0) throw new Error(`pg_recvlogical ended with ${code ?? 'a signal'}`);
  const usage = meter.stop();
  await arena.dropSlot(slot);
  return { rows, seconds: (endMs - startMs) / 1_000, usage };
}
