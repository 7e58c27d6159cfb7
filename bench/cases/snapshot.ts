// A table that is there loaded into the embedded log by a first start, beside a binary COPY of it to nowhere.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Arena, postmasterOf, until } from '../arena.ts';
import { filledTable, writeRows } from '../load.ts';
import { compareRates, type Measured, type Result } from '../pairs.ts';
import { UsageMeter } from '../usage.ts';
import { recordsIn } from './capture.ts';

const GOAL = 0.2;

export async function snapshotCase(options: { readonly runs: number; readonly rows: number }): Promise<Result[]> {
  await using arena = await Arena.create();
  await writeRows(arena.client, options.rows);
  const result = await compareRates(
    {
      name: 'snapshot',
      what: `a first start that loads a table of ${options.rows} rows of about 200 bytes into the embedded log`,
      reference: 'COPY … TO STDOUT (FORMAT binary)',
      runs: options.runs,
      ours: (run) => load(arena, `run${run}`, options.rows),
      theirs: () => copy(arena, options.rows),
    },
    GOAL,
  );
  return [result];
}

async function load(arena: Arena, pipeline: string, rows: number): Promise<Measured> {
  const slot = `causeway_${pipeline}`;
  const { log } = arena.filesOf(pipeline);
  const daemon = await arena.start(pipeline, 'capture', { tables: [{ name: filledTable, snapshot: 'initial' }] });
  const meter = new UsageMeter([
    { name: 'causeway', pid: daemon.pid },
    { name: 'source', pid: postmasterOf(arena.source), children: true },
  ]);
  const startMs = await arena.untilActive(slot, daemon);
  const endMs = await until(() => Promise.resolve(recordsIn(log) >= rows), 'everything loaded', daemon);
  const usage = meter.stop();
  await daemon.stop();
  await arena.dropSlot(slot);
  await arena.client.query(`DROP PUBLICATION ${slot}`);
  return { rows, seconds: (endMs - startMs) / 1_000, usage };
}

async function copy(arena: Arena, rows: number): Promise<Measured> {
  const { port, user, password } = arena.source;
  const client = spawn(
    'psql',
    ['--host=127.0.0.1', `--port=${port}`, `--username=${user}`, '--dbname=bench', '-c', `COPY ${filledTable} TO STDOUT (FORMAT binary)`],
    { env: { PATH: process.env['PATH'], PGPASSWORD: password }, stdio: ['ignore', 'ignore', 'inherit'] },
  );
  if (client.pid === undefined) throw new Error("psql was not found: it is in Debian's postgresql-client");
  const exited = once(client, 'exit');
  const meter = new UsageMeter([
    { name: 'psql', pid: client.pid },
    { name: 'source', pid: postmasterOf(arena.source), children: true },
  ]);
  const startMs = performance.now();
  const [code] = (await exited) as [number | null];
  const endMs = performance.now();
  if (code !== 0) throw new Error(`psql ended with ${code ?? 'a signal'}`);
  return { rows, seconds: (endMs - startMs) / 1_000, usage: meter.stop() };
}
