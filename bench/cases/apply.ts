// A prepared log applied to Postgres, beside a bare loop that sends the same statements with the same parameters.
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { Arena, postmasterOf } from '../arena.ts';
import { Program } from '../daemon.ts';
import { writeBacklog } from '../load.ts';
import { compareRates, type Measured, type Result } from '../pairs.ts';
import { UsageMeter } from '../usage.ts';
import { assertEqual } from './backlog.ts';

const GOAL = 0.8;
const PIPELINE = 'prepared';

export type ApplyOptions = { readonly runs: number; readonly rows: number; readonly register: 'sidecar' | 'inline' };

export async function applyCase({ runs, rows: rowsWanted, register }: ApplyOptions): Promise<Result[]> {
  await using arena = await Arena.create();
  await arena.prepare(PIPELINE);
  const rows = await writeBacklog(arena.client, 'thousands', rowsWanted);
  await fillLog(arena);
  const recording = join(arena.folder, 'statements');
  // Once before anything is measured, to write down what is sent.
  const { hook, env } = { hook: join(import.meta.dirname, '../statement-recorder.ts'), env: { CAUSEWAY_BENCH_RECORDING: recording } };
  await apply(arena, { name: 'recorded', register, rows, nodeArgs: ['--import', hook], env });
  const result = await compareRates(
    {
      name: `apply-${register}`,
      what: `a log of ${rows} row changes into Postgres, ${register}, four connections`,
      reference: 'bare loop',
      runs,
      ours: (run) => apply(arena, { name: `run${run}`, register, rows }),
      theirs: (run) => replay(arena, { name: `loop${run}`, recording, register, rows }),
    },
    GOAL,
  );
  return [result];
}

async function fillLog(arena: Arena): Promise<void> {
  const daemon = await arena.start(PIPELINE, 'capture');
  await arena.untilSql(
    `SELECT 1 FROM pg_replication_slots WHERE slot_name = 'causeway_${PIPELINE}' AND confirmed_flush_lsn >= (SELECT pg_current_wal_lsn() - 4096)`,
    arena.client,
    daemon,
  );
  await daemon.stop();
}

type Run = {
  readonly name: string;
  readonly register: 'sidecar' | 'inline';
  readonly rows: number;
  readonly nodeArgs?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
};

async function apply(arena: Arena, { name, register, rows, nodeArgs, env }: Run): Promise<Measured> {
  const from = arena.filesOf(PIPELINE);
  const to = arena.filesOf(name);
  cpSync(from.control, to.control);
  cpSync(from.log, to.log);
  const copy = await arena.makeCopy(name, false);
  const daemon = await arena.start(PIPELINE, 'apply', {
    register,
    sinkDatabase: name,
    files: name,
    nodeArgs: nodeArgs ?? [],
    env: env ?? {},
  });
  const meter = new UsageMeter([
    { name: 'causeway', pid: daemon.pid },
    { name: 'sink', pid: postmasterOf(arena.sink), children: true },
  ]);
  // Taking a partition raises its token; what follows is reading and writing.
  const startMs = await arena.untilSql('SELECT 1 FROM causeway.sink_progress WHERE token > 1', copy, daemon);
  const endMs = await arena.untilFinished(copy, daemon);
  const usage = meter.stop();
  await daemon.stop();
  await assertEqual(arena, copy, register);
  await copy.end();
  return { rows, seconds: (endMs - startMs) / 1_000, usage };
}

async function replay(
  arena: Arena,
  of: { readonly name: string; readonly recording: string; readonly register: 'sidecar' | 'inline'; readonly rows: number },
): Promise<Measured> {
  const copy = await arena.makeCopy(of.name, false);
  const loop = new Program([join(import.meta.dirname, '../statement-loop.ts'), of.recording, arena.sink.url(of.name)]);
  const meter = new UsageMeter([
    { name: 'bare loop', pid: loop.pid },
    { name: 'sink', pid: postmasterOf(arena.sink), children: true },
  ]);
  await loop.ended();
  const usage = meter.stop();
  const seconds = Number(/^seconds (\S+)$/.exec(loop.lines.at(-1) ?? '')?.[1]);
  await assertEqual(arena, copy, of.register);
  await copy.end();
  return { rows: of.rows, seconds, usage };
}
