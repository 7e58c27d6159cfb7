// The daemon as an operator runs it, from the first `check` to `pipeline remove`, over two real databases.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCommandLine } from '../../src/cli/program.ts';
import type { StatusDocument } from '../../src/http/status-document.ts';
import { Daemon } from '../support/daemon.ts';
import { freePort } from '../support/postgres-server.ts';
import { describeNewestPostgres, TestDatabase } from '../support/postgres.ts';
import { tempFolder, type TempFolder } from '../support/temp-folder.ts';

/** A machine that does other things as well. */
const soon = { timeout: 30_000, interval: 100 };

type Ran = { readonly code: number; readonly out: string; readonly err: string };

describeNewestPostgres('the daemon', (major) => {
  let folder: TempFolder;
  let source: TestDatabase;
  let sink: TestDatabase;
  let env: Readonly<Record<string, string>>;
  const daemons: Daemon[] = [];

  beforeAll(async () => {
    folder = tempFolder();
    source = await TestDatabase.create(major);
    sink = await TestDatabase.create(major);
    env = { SOURCE_URL: source.url, SINK_URL: sink.url };
    await source.query('CREATE TABLE orders (id int PRIMARY KEY, note text, amount numeric(12,2)); CREATE TABLE keyless (a int)');
  });

  afterAll(async () => {
    for (const daemon of daemons) await daemon.kill();
    await source.close();
    await sink.close();
    folder[Symbol.dispose]();
  });

  /** A file of the same pipeline; another port, so that a standby can run beside. */
  function configFile(port: number, tables: string): string {
    const file = join(folder.path, `causeway-${port}.yaml`);
    writeFileSync(
      file,
      `control: { kind: embedded, path: ${folder.path}/control.db }
http: { listen: '127.0.0.1:${port}' }
metrics: { listen: '127.0.0.1:${port}' }
pipelines:
  main:
    # The name of a slot is the server's, which the tests share.
    source: { kind: postgres, url: '\${SOURCE_URL}', tables: [${tables}], slot: ${source.name}, publication: ${source.name} }
    log: { kind: embedded, path: ${folder.path}/log.db }
    lease: { ttl: 2s }
    sinks:
      copy: { kind: postgres, url: '\${SINK_URL}', provision: create }
`,
    );
    return file;
  }

  async function start(tables = 'public.orders'): Promise<{ readonly daemon: Daemon; readonly file: string; readonly port: number }> {
    const port = await freePort();
    const file = configFile(port, tables);
    const daemon = Daemon.start({ configFile: file, port, env });
    daemons.push(daemon);
    await expect.poll(() => answer(port, '/readyz'), soon).toMatch(/^ok\nmain: \w+\n$/);
    return { daemon, file, port };
  }

  async function causeway(file: string, ...words: readonly string[]): Promise<Ran> {
    const said = { out: '', err: '' };
    const code = await runCommandLine([...words, '-c', file], {
      stdout: (text) => void (said.out += text),
      stderr: (text) => void (said.err += text),
      env,
      signal: new AbortController().signal,
    });
    return { code, ...said };
  }

  async function answer(port: number, path: string): Promise<string | null> {
    try {
      return await (await fetch(`http://127.0.0.1:${port}${path}`)).text();
    } catch {
      return null;
    }
  }

  async function pipelineStatus(port: number): Promise<StatusDocument['pipelines'][number] | undefined> {
    const text = await answer(port, '/api/v1/status');
    return text === null ? undefined : (JSON.parse(text) as StatusDocument).pipelines[0];
  }

  const copied = async (id: number): Promise<number> =>
    (await sink.query<{ n: number }>(`SELECT count(*)::int AS n FROM orders WHERE id = ${id}`))[0]?.n ?? 0;

  test('from check to remove', async () => {
    const checkFile = configFile(1, 'public.*');
    const refused = await causeway(checkFile, 'check');
    expect(refused.code).toBe(1);
    expect(refused.out).toContain('public.keyless');

    const first = await start();
    await expect.poll(async () => (await pipelineStatus(first.port))?.state, soon).toBe('streaming');
    await source.query("INSERT INTO orders SELECT g, 'n' || g, g FROM generate_series(1, 500) g; DELETE FROM orders WHERE id = 500");
    await expect.poll(async () => copied(499).catch(() => 0), soon).toBe(1);
    await expect.poll(() => copied(500), soon).toBe(0);
    expect(first.daemon.log.filter((line) => /"level":"(warn|error)"/.test(line))).toEqual([]);

    const metric = async (name: string): Promise<number | undefined> => (await first.daemon.metric(name))[0]?.value;
    expect(await metric('causeway_end_to_end_lag_seconds_count')).toBeGreaterThan(0);
    expect(await metric('causeway_lease_held')).toBe(1);
    expect(await metric('causeway_dlq_records')).toBe(0);
    await expect.poll(() => metric('causeway_sink_watermark_timestamp_seconds'), soon).toBeGreaterThan(0);

    await expect.poll(async () => (await causeway(first.file, 'status')).out, soon).toMatch(/main +streaming .* copy +running/);

    // A second daemon of the same pipeline waits, says so, and takes nothing away.
    const second = await start();
    await expect.poll(async () => (await pipelineStatus(second.port))?.state, soon).toBe('standby');
    expect(await answer(second.port, '/readyz')).toBe('ok\nmain: standby\n');
    expect(second.daemon.log.some((line) => line.includes('standby: another process captures'))).toBe(true);
    expect((await second.daemon.metric('causeway_lease_held'))[0]?.value).toBe(0);
    expect(await second.daemon.metric('causeway_sink_watermark_timestamp_seconds')).toEqual([]);

    const paused = await causeway(first.file, 'pipeline', 'pause');
    expect([paused.code, paused.err]).toEqual([0, expect.stringMatching(/slot \S+ holds .* more per hour at the current rate/)]);
    await source.query("INSERT INTO orders VALUES (1001, 'while paused', 1)");
    expect((await causeway(first.file, 'status')).out).toMatch(/main +paused/);
    expect(await copied(1001)).toBe(0);
    expect((await causeway(first.file, 'pipeline', 'resume')).code).toBe(0);
    await expect.poll(() => copied(1001), soon).toBe(1);

    // Whichever of both captures now: it cannot be removed under it.
    expect((await causeway(first.file, 'pipeline', 'remove', '--confirm', 'main')).code).toBe(4);

    const [holder, standby] = (await pipelineStatus(first.port))?.lease?.held === true ? [first, second] : [second, first];
    await holder.daemon.stop();
    expect(holder.daemon.exit).toEqual({ code: 0, signal: null });
    // The lease was released, so nobody waits for its ttl.
    await expect.poll(async () => (await pipelineStatus(standby.port))?.state, soon).toBe('streaming');
    await source.query("INSERT INTO orders VALUES (1002, 'by the standby', 1)");
    await expect.poll(() => copied(1002), soon).toBe(1);
    await standby.daemon.stop();
    expect(standby.daemon.exit).toEqual({ code: 0, signal: null });
    expect((await causeway(first.file, 'lease', 'list')).out).toMatch(/main +\d+ +nobody/);

    const removed = await causeway(first.file, 'pipeline', 'remove', '--confirm', 'main');
    expect(removed.code).toBe(0);
    expect(await source.query(`SELECT 1 FROM pg_replication_slots WHERE slot_name = '${source.name}'`)).toEqual([]);
    expect(await source.query('SELECT 1 FROM pg_publication')).toEqual([]);
    expect((await sink.query<{ n: number }>('SELECT count(*)::int AS n FROM orders'))[0]?.n).toBe(501);
    const all = [...first.daemon.log, ...second.daemon.log].join('\n');
    expect(all).not.toContain('while paused');
    expect(all).not.toContain(`:${new URL(source.url).password}@`);
  });
});
