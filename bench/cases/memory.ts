// The daemon's peak of resident memory where there is far more to carry than it may hold.
import { loadavg } from 'node:os';
import { Arena, postmasterOf } from '../arena.ts';
import { writeBacklog, writeLargeTransaction } from '../load.ts';
import { printUsage } from '../report.ts';
import { peakKiBOf, type Usage, UsageMeter } from '../usage.ts';
import { assertEqual } from './backlog.ts';

const GOAL_MIB = 256;

export type MemoryResult = {
  readonly name: string;
  readonly what: string;
  readonly goal: string;
  readonly reached: boolean;
  readonly peakMiB: number;
  readonly seconds: number;
  readonly usage: readonly Usage[];
  readonly loadAverage: number;
};

export async function memoryCase(of: { readonly kind: 'transaction' | 'stopped-sink'; readonly rows: number }): Promise<MemoryResult[]> {
  await using arena = await Arena.create();
  const copy = await arena.makeCopy('copy', false);
  const daemon = await arena.start('memory', 'capture,apply', { sinkDatabase: 'copy' });
  await arena.untilSql('SELECT 1 FROM pg_class WHERE oid = to_regclass($$bench.finish$$)', copy, daemon);
  await arena.untilActive('causeway_memory', daemon);
  const startMs = performance.now();
  let looker = copy;
  if (of.kind === 'transaction') {
    await writeLargeTransaction(arena.client, of.rows);
  } else {
    await copy.end();
    await arena.sink.stop();
    await writeBacklog(arena.client, 'thousands', of.rows);
    // Until capture is through: everything stands in the log, and nothing at the sink.
    await arena.untilSql(
      "SELECT 1 FROM pg_replication_slots WHERE slot_name = 'causeway_memory' AND confirmed_flush_lsn >= (SELECT pg_current_wal_lsn() - 65536)",
      arena.client,
      daemon,
    );
    await arena.sink.start();
    looker = await arena.sink.connect('copy');
  }
  const meter = new UsageMeter([
    { name: 'causeway', pid: daemon.pid },
    { name: 'source', pid: postmasterOf(arena.source), children: true },
    { name: 'sink', pid: postmasterOf(arena.sink), children: true },
  ]);
  await arena.untilFinished(looker, daemon);
  const seconds = (performance.now() - startMs) / 1_000;
  const peakMiB = (peakKiBOf(daemon.pid) ?? NaN) / 1_024;
  const usage = meter.stop();
  await assertEqual(arena, looker, 'sidecar');
  await looker.end();
  await daemon.stop();
  const what =
    of.kind === 'transaction'
      ? `one transaction of ${of.rows} rows, about a kilobyte each`
      : `${of.rows} row changes while the sink is stopped, applied afterwards`;
  const result = {
    name: `memory-${of.kind}`,
    what,
    goal: `less than ${GOAL_MIB} MiB`,
    reached: peakMiB < GOAL_MIB,
    peakMiB,
    seconds,
    usage,
    loadAverage: loadavg()[0] ?? 0,
  };
  console.log(
    `\n${result.name}: ${what}\n  peak resident memory of the daemon ${peakMiB.toFixed(0)} MiB, goal ${result.goal}, after ${seconds.toFixed(1)} s`,
  );
  console.log(`  ${result.reached ? 'reached' : 'NOT REACHED'}`);
  printUsage('since the load was written', usage);
  return [result];
}
