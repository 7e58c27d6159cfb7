// Real crashes under load: the daemon, the servers and the connections between them are killed and frozen while writers go on.
// Each test ends with the same question: has the sink exactly what was committed, and each effect once?
// CAUSEWAY_TEST_SEED repeats a run's moments, as far as real processes can repeat anything.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { auditSchema, innocent, judge } from '../support/accounting.ts';
import { Daemon } from '../support/daemon.ts';
import { ledgerSchema, openAccount, writer, type WriterAccount } from '../support/ledger-writer.ts';
import { freePort, PostgresServer } from '../support/postgres-server.ts';
import { wantedMajors } from '../support/postgres-servers.ts';
import { seededRandom } from '../support/random.ts';

const seed = Number(process.env['CAUSEWAY_TEST_SEED'] ?? Math.floor(Math.random() * 1_000_000));
const writers = 3;
const transactionsPerSecond = 25;
const leaseTtlMs = 1_000;
const comesUpWithinMs = 30_000;
const drainsWithinMs = 60_000;
/** Of one test, on a machine that does other things as well: a run that is let go would go on into the next test. */
const testWithinMs = 300_000;

describe(`crashes under load, seed ${seed}`, { timeout: testWithinMs }, () => {
  const random = seededRandom(seed);
  const accounts: WriterAccount[] = Array.from({ length: writers }, (_, number) => openAccount(number + 1));
  let folder: string;
  let source: PostgresServer;
  let sink: PostgresServer;
  let ports: readonly [number, number];
  /** A second one stands by in some tests. */
  let daemon: Daemon;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'causeway-crash-'));
    const majors = wantedMajors();
    source = await PostgresServer.create({ major: majors.at(-1) ?? 18 });
    sink = await PostgresServer.create({ major: majors[0] ?? 14 });
    ports = [await freePort(), await freePort()];
    await source.createDatabase('app');
    await sink.createDatabase('app');
    await source.query(ledgerSchema, 'app');
    daemon = start(0);
    await daemon.untilWatermark(0, comesUpWithinMs);
    await sink.query(auditSchema, 'app');
  });

  afterAll(async () => {
    await daemon.kill();
    await source.dispose();
    await sink.dispose();
    rmSync(folder, { recursive: true, force: true });
  });

  test('twenty kills of the daemon', async () => {
    await underLoad(async () => {
      for (let kill = 0; kill < 20; kill += 1) {
        // Every second one hits a daemon that is still starting, or waits for the lease of the one before, or has just begun.
        const isUp = kill % 2 === 0;
        if (isUp) await untilMoving(daemon);
        await somewhen(isUp ? 600 : 2_500);
        await daemon.kill();
        daemon = start(0);
      }
    });
  });

  test('five kills of the source server', async () => {
    await underLoad(async () => {
      for (let kill = 0; kill < 5; kill += 1) {
        await untilMoving(daemon);
        await somewhen(500);
        await source.kill();
        await somewhen(500);
        await source.start();
      }
    });
  });

  test('five kills of the sink server', async () => {
    await underLoad(async () => {
      for (let kill = 0; kill < 5; kill += 1) {
        await untilMoving(daemon);
        await somewhen(500);
        await sink.kill();
        await somewhen(500);
        await sink.start();
      }
    });
  });

  test('five freezes of the daemon, longer than its lease, some with another that takes over', async () => {
    await underLoad(async () => {
      for (let freeze = 0; freeze < 5; freeze += 1) {
        await untilMoving(daemon);
        await somewhen(500);
        const frozen = daemon;
        const standby = freeze % 2 === 0 ? start(frozen.port === ports[0] ? 1 : 0) : undefined;
        frozen.freeze();
        if (standby === undefined) {
          await sleep(1.5 * leaseTtlMs);
          frozen.thaw();
        } else {
          // One that froze while it wrote to the log keeps the file locked, and then nobody can take over before it goes on.
          await Promise.race([untilMoving(standby), sleep(4 * leaseTtlMs)]);
          frozen.thaw();
          // Both run for a while; the one that was frozen has to notice by itself.
          await somewhen(1_000);
          await frozen.kill();
          daemon = standby;
        }
      }
    });
  });

  test('five walsenders terminated', async () => {
    const client = await source.connect('app');
    await underLoad(async () => {
      for (let kill = 0; kill < 5; kill += 1) {
        await untilMoving(daemon);
        await somewhen(500);
        const { rows } = await client.query('SELECT pg_terminate_backend(pid) FROM pg_stat_replication');
        expect(rows.length).toBeGreaterThan(0);
      }
    });
    await client.end();
  });

  /** Runs the faults while writers write, lets everything come to rest, and judges. */
  async function underLoad(faults: () => Promise<void>): Promise<void> {
    const load = new AbortController();
    const before = committed();
    const writing = accounts.map((account) =>
      writer(account, { connect: () => source.connect('app'), seed: Math.floor(random() * 2 ** 32), transactionsPerSecond }, load.signal),
    );
    try {
      await Promise.race([faults(), Promise.all(writing)]);
    } finally {
      load.abort();
      await Promise.all(writing);
    }
    expect(committed()).toBeGreaterThan(before + 20);
    const sourceClient = await source.connect('app');
    const sinkClient = await sink.connect('app');
    try {
      await daemon.untilWatermark(await clockOf(sourceClient), drainsWithinMs);
      // At once: what the watermark claims has to be true when it claims it.
      const { verdict, marks, effects } = await judge(sourceClient, sinkClient, accounts);
      expect(verdict, daemon.log.slice(-40).join('\n')).toEqual(innocent);
      expect(marks).toBeGreaterThanOrEqual(committed());
      expect(effects).toBeGreaterThan(marks);
    } finally {
      await sourceClient.end();
      await sinkClient.end();
    }
  }

  function committed(): number {
    return accounts.reduce((sum, account) => sum + account.committed.size, 0);
  }

  function start(which: 0 | 1): Daemon {
    const configFile = join(folder, `daemon-${which}.yaml`);
    writeFileSync(
      configFile,
      `control: { kind: embedded, path: '${join(folder, 'control.db')}' }
http: { listen: '127.0.0.1:${ports[which]}' }
metrics: { listen: '127.0.0.1:${ports[which]}' }
logging: { level: debug, format: json }
pipelines:
  ledger:
    source: { kind: postgres, url: '${source.url('app')}', tables: [ledger.*] }
    log: { kind: embedded, path: '${join(folder, 'log.db')}' }
    lease: { ttl: ${leaseTtlMs}ms }
    sinks:
      copy: { kind: postgres, url: '${sink.url('app')}', provision: create }
`,
    );
    return Daemon.start({ configFile, port: ports[which] });
  }

  /** Waits until the daemon applies: its watermark passes this moment of the source's clock. */
  async function untilMoving(running: Daemon): Promise<void> {
    const client = await source.connect('app');
    const now = await clockOf(client);
    await client.end();
    await running.untilWatermark(now, drainsWithinMs);
  }

  async function clockOf(client: pg.Client): Promise<number> {
    const { rows } = await client.query<{ now: string }>('SELECT extract(epoch FROM clock_timestamp()) AS now');
    return Number(rows[0]?.now);
  }

  async function somewhen(withinMs: number): Promise<void> {
    await sleep(random() * withinMs);
  }
});
