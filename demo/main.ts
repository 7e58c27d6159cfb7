// `npm run demo`: a database that holds rows and is written to, a daemon that loads it elsewhere and is killed in the middle of that, and
// proof that the copy is right: a reconciliation that finds nothing, and one that finds and mends what was done to the copy by hand.
//   --keep            leaves everything running afterwards and prints what to try
//   --rate N          rows a second that are written (default 2000)
//   --seconds N       how long is written after the load (default 8)
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type pg from 'pg';
import type { LoadStatus, StatusDocument } from '../src/http/status-document.ts';
import { Daemon } from '../test/support/daemon.ts';
import { freePort, PostgresServer } from '../test/support/postgres-server.ts';
import { digests } from '../test/support/digest.ts';
import { Pulse, quantile } from './pulse.ts';
import { corrupt, reconciles, repairs } from './proof.ts';
import { print, say, show, strong, verdictColour } from './screen.ts';
import { clerk, fill, schema, tables, type Written } from './shop.ts';

const { values: args } = parseArgs({
  options: {
    keep: { type: 'boolean', default: false },
    rate: { type: 'string', default: '2000' },
    seconds: { type: 'string', default: '8' },
  },
});
const rowsPerSecond = Number(args.rate);
const loadMs = Number(args.seconds) * 1_000;
const clerks = 4;
const seed = 20_260;
const deadMs = 2_000;
const drainWithinMs = 60_000;
const loadWithinMs = 120_000;
const configFile = 'config/demo.yaml';
/** Servers as they are used: with every commit on disk before it counts. */
const settings = { fsync: 'on', full_page_writes: 'on' };

interface Scene {
  readonly source: PostgresServer;
  readonly sink: PostgresServer;
  readonly sourceClient: pg.Client;
  readonly sinkClient: pg.Client;
  readonly folder: string;
  readonly port: number;
  readonly written: Written;
  readonly pulse: Pulse;
}

const folder = mkdtempSync(join(tmpdir(), 'causeway-demo-'));
process.on('exit', () => {
  rmSync(folder, { recursive: true, force: true });
});
// The servers and the daemon end with this process, by their own handlers of its exit.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130));

process.exit((await demo()) ? 0 : 1);

async function demo(): Promise<boolean> {
  say('starting two PostgreSQL 18 servers, one standing for each cloud');
  await using source = await PostgresServer.create({ major: 18, settings });
  await using sink = await PostgresServer.create({ major: 18, settings });
  await source.createDatabase('shop');
  await sink.createDatabase('shop');
  await source.query(schema, 'shop');
  const scene: Scene = {
    source,
    sink,
    sourceClient: await source.connect('shop'),
    sinkClient: await sink.connect('shop'),
    folder,
    port: await freePort(),
    written: { transactions: 0, rows: 0 },
    pulse: new Pulse(),
  };
  await fill(scene.sourceClient, clerks);
  const before = (await digests(scene.sourceClient, tables)).reduce((sum, { rows }) => sum + rows, 0);
  say(`the shop holds ${before} rows already`);

  say(
    `${clerks} clerks write about ${rowsPerSecond} rows/s to them: inserts, updates, deletes, changed keys, large texts, rolled-back transactions`,
  );
  const load = new AbortController();
  const writers = await startLoad(scene, load.signal);
  say(`starting the daemon: node src/main.ts run -c ${configFile}`);
  let daemon = start(scene);
  await untilLoaded(scene, daemon, before / 5);
  say(strong(`kill -9 ${daemon.pid ?? ''}: the daemon dies in the middle of the load, the clerks go on`));
  await daemon.kill();
  await watch(scene, deadMs);
  daemon = start(scene);
  say(strong(`started again as process ${daemon.pid ?? ''}: it goes on where the load was`));
  await untilLoaded(scene, daemon, Infinity);
  say('every table is loaded');
  await watch(scene, loadMs);
  load.abort();
  await Promise.all(writers);

  say(`the clerks stop after ${scene.written.transactions} transactions with ${scene.written.rows} rows`);
  const drained = await drain(scene, daemon);
  const isEqual = drained && (await proved(scene)) && (await compare(scene));
  if (!isEqual) for (const line of daemon.log.slice(-15)) print(`  daemon: ${line}`);
  if (args.keep) await keep(scene);
  await daemon.stop();
  await Promise.all([scene.sourceClient.end(), scene.sinkClient.end()]);
  return isEqual;
}

function start(scene: Scene): Daemon {
  return Daemon.start({ configFile, port: scene.port, env: environmentOf(scene) });
}

function environmentOf(scene: Scene): Record<string, string> {
  return {
    CAUSEWAY_DEMO_SOURCE_URL: scene.source.url('shop'),
    CAUSEWAY_DEMO_SINK_URL: scene.sink.url('shop'),
    CAUSEWAY_DEMO_DIR: scene.folder,
    CAUSEWAY_DEMO_PORT: String(scene.port),
  };
}

/** Until so many rows are loaded, or the loads are over. */
async function untilLoaded(scene: Scene, daemon: Daemon, rows: number): Promise<void> {
  const endMs = performance.now() + loadWithinMs;
  let seen = false;
  while (performance.now() < endMs && daemon.exit === null) {
    await sleep(50);
    const loads = await loadsOf(scene);
    if (loads === null) continue;
    const so = loads.reduce((sum, load) => sum + load.rows, 0);
    if (so >= rows || (seen && loads.length === 0)) return;
    seen ||= loads.length > 0;
    show(
      `loading ${loads.length} tables: ${so} rows so far   written meanwhile ${scene.written.rows}   backlog at the source ${await backlog(scene)}`,
    );
  }
  for (const line of daemon.log.slice(-15)) print(`  daemon: ${line}`);
  throw new Error('the tables were not loaded in time');
}

/** Null before the daemon answers. */
async function loadsOf({ port }: Scene): Promise<readonly LoadStatus[] | null> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/status`);
    return ((await response.json()) as StatusDocument).pipelines[0]?.loads ?? null;
  } catch {
    return null;
  }
}

/** Source and copy are compared, then the copy is changed by hand, which has to be found and mended. */
async function proved(scene: Scene): Promise<boolean> {
  const env = environmentOf(scene);
  say('causeway reconcile run: every row of the source against the copy');
  if ((await reconciles(configFile, env)) !== 0) return false;
  say(strong('somebody deletes a customer from the copy, changes an order, and adds a line that nobody wrote'));
  await corrupt(scene.sinkClient);
  if ((await reconciles(configFile, env)) !== 3) return false;
  say('causeway reconcile repair: what differs is published again, through the log');
  if (!(await repairs(configFile, env))) return false;
  return (await reconciles(configFile, env)) === 0;
}

async function startLoad(scene: Scene, signal: AbortSignal): Promise<Promise<void>[]> {
  const { source, sink, pulse, written } = scene;
  const running = Array.from({ length: clerks }, async (_, number) => {
    const client = await source.connect('shop');
    await clerk(client, { number: number + 1, seed, rowsPerSecond: rowsPerSecond / clerks, written }, signal);
    await client.end();
  });
  const sender = await source.connect('shop');
  const looker = await sink.connect('shop');
  return [...running, pulse.send(sender, signal).then(() => sender.end()), pulse.look(looker, signal).then(() => looker.end())];
}

/** Shows rates, lag and backlog for a while. */
async function watch(scene: Scene, forMs: number): Promise<void> {
  const endMs = performance.now() + forMs;
  let before = { rows: scene.written.rows, atMs: performance.now() };
  while (performance.now() < endMs) {
    await sleep(Math.min(1_000, Math.max(1, endMs - performance.now())));
    const now = { rows: scene.written.rows, atMs: performance.now() };
    const rate = ((now.rows - before.rows) * 1_000) / (now.atMs - before.atMs);
    const lags = scene.pulse.take();
    const lag =
      lags.length === 0
        ? `nothing arrives, ${seconds(scene.pulse.behindMs())} behind`
        : `lag p50 ${seconds(quantile(lags, 0.5))}  p99 ${seconds(quantile(lags, 0.99))}`;
    show(`written ${Math.round(rate).toString().padStart(5)} rows/s   ${lag}   backlog at the source ${await backlog(scene)}`);
    before = now;
  }
}

/** What the source keeps because the daemon has not acknowledged it yet. */
async function backlog({ sourceClient }: Scene): Promise<string> {
  const { rows } = await sourceClient.query<{ bytes: string }>(
    `SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), min(confirmed_flush_lsn))::bigint AS bytes FROM pg_replication_slots`,
  );
  return `${(Number(rows[0]?.bytes ?? 0) / 1_048_576).toFixed(1)} MiB`;
}

function seconds(ms: number | undefined): string {
  return ms === undefined ? '?' : ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
}

/** Waits until the daemon says that all that was committed at the source stands at the copy. */
async function drain({ sourceClient }: Scene, daemon: Daemon): Promise<boolean> {
  const { rows } = await sourceClient.query<{ now: string }>('SELECT extract(epoch FROM clock_timestamp()) AS now');
  const end = Number(rows[0]?.now);
  const startMs = performance.now();
  for (;;) {
    const watermark = await daemon.watermarkSeconds();
    if (watermark !== undefined && watermark >= end) break;
    if (performance.now() - startMs > drainWithinMs || daemon.exit !== null) {
      say(verdictColour('the copy does not reach the end of the source', false));
      return false;
    }
    show(
      watermark === undefined ? 'waiting for the watermark' : `the copy is proved up to ${(end - watermark).toFixed(1)} s before the end`,
    );
    await sleep(100);
  }
  say(`the sink's watermark has passed the end of the source after ${seconds(performance.now() - startMs)}`);
  return true;
}

async function compare({ sourceClient, sinkClient }: Scene): Promise<boolean> {
  say('comparing both databases, in SQL alone: rows and a digest of all values of each table');
  const atSource = await digests(sourceClient, tables);
  const atSink = await digests(sinkClient, tables);
  let isEqual = true;
  for (const [index, there] of atSource.entries()) {
    const here = atSink[index];
    const same = here?.rows === there.rows && here.digest === there.digest;
    isEqual &&= same;
    const rows = same ? `${there.rows} rows` : `${there.rows} rows at the source, ${here?.rows ?? 0} at the copy`;
    print(`            ${there.table.padEnd(18)} ${rows.padStart(14)}   ${same ? 'equal' : verdictColour('DIFFERENT', false)}`);
  }
  say(verdictColour(isEqual ? 'EQUAL: nothing was lost, nothing is there twice' : 'DIFFERENT: see the tables above', isEqual));
  return isEqual;
}

async function keep({ source, sink, port }: Scene): Promise<void> {
  print(`
Everything is left running until Ctrl-C. To try:
  psql '${source.url('shop')}'      # the source: change something in shop.customers …
  psql '${sink.url('shop')}'      # … and find it here
  curl -s http://127.0.0.1:${port}/metrics | grep causeway_
  curl -s http://127.0.0.1:${port}/api/v1/status
The daemon's files: ${folder} (${readdirSync(folder).join(', ')})`);
  // Nothing else keeps the process; the handlers of the signals end it.
  await new Promise<never>(() => setInterval(() => undefined, 60_000));
}
