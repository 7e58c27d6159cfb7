// Two sinks of different kinds in one pipeline, each behind a network that can be held: the other one and the source go on.
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DynamoDBClient, ScanCommand } from '@aws-sdk/client-dynamodb';
import { expect, test } from 'vitest';
import { Daemon } from '../support/daemon.ts';
import { freePort } from '../support/postgres-server.ts';
import { describeNewestPostgres, TestDatabase } from '../support/postgres.ts';
import { describeShared, sharedService } from '../support/services.ts';
import { TcpProxy, type Trouble } from '../support/tcp-proxy.ts';
import { tempFolder } from '../support/temp-folder.ts';

const soon = { timeout: 30_000, interval: 50 };
const region = 'eu-west-1';
/** What was asked arrives; no answer does. */
const held: Trouble = { tag: 'black hole', direction: 'to the client' };

describeNewestPostgres('sinks of one pipeline', (major) => {
  describeShared('dynamodb', 'in Postgres and in DynamoDB', () => {
    test('of which one is held delay neither each other nor the source, and have everything afterwards', async () => {
      await using disposed = new AsyncDisposableStack();
      const folder = disposed.use(tempFolder());
      const source = await TestDatabase.create(major);
      disposed.defer(() => source.close());
      const copy = await TestDatabase.create(major);
      disposed.defer(() => copy.close());
      const { endpoint } = await sharedService('dynamodb');
      const toCopy = disposed.use(await TcpProxy.create({ host: new URL(copy.url).hostname, port: Number(new URL(copy.url).port) }));
      const toItems = disposed.use(await TcpProxy.create({ host: new URL(endpoint).hostname, port: Number(new URL(endpoint).port) }));
      // The local store keeps the tables of each key apart.
      const credentials = { accessKeyId: `k${randomBytes(6).toString('hex')}`, secretAccessKey: 'local' };
      const client = new DynamoDBClient({ region, endpoint, credentials });
      disposed.defer(() => client.destroy());
      await source.query('CREATE TABLE orders (id int PRIMARY KEY, note text)');

      const port = await freePort();
      const copyUrl = Object.assign(new URL(copy.url), { hostname: '127.0.0.1', port: String(toCopy.port) }).href;
      const configFile = join(folder.path, 'causeway.yaml');
      writeFileSync(
        configFile,
        `control: { kind: embedded, path: ${folder.path}/control.db }
http: { listen: '127.0.0.1:${port}' }
metrics: { listen: '127.0.0.1:${port}' }
pipelines:
  main:
    source: { kind: postgres, url: '${source.url}', tables: [public.orders], slot: ${source.name}, publication: ${source.name} }
    log: { kind: embedded, path: ${folder.path}/log.db }
    lease: { ttl: 2s }
    sinks:
      copy: { kind: postgres, url: '${copyUrl}', provision: create }
      items: { kind: dynamodb, region: ${region}, endpoint: 'http://127.0.0.1:${toItems.port}', provision: create }
`,
      );
      const env = { AWS_ACCESS_KEY_ID: credentials.accessKeyId, AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey };
      const daemon = Daemon.start({ configFile, port, env });
      disposed.defer(() => daemon.kill());
      await daemon.untilWatermark(0, soon.timeout);

      const rowsOfCopy = async (): Promise<number> => (await copy.query('SELECT id FROM orders')).length;
      const rowsOfItems = async (): Promise<number> =>
        (await client.send(new ScanCommand({ TableName: 'public.orders', ConsistentRead: true }))).Count ?? 0;
      const write = async (from: number): Promise<string> => {
        await source.query(`INSERT INTO orders SELECT g, 'n' || g FROM generate_series(${from}, ${from + 99}) g`);
        return (await source.query<{ lsn: string }>('SELECT pg_current_wal_lsn()::text AS lsn'))[0]?.lsn ?? '';
      };
      const isAcknowledged = async (lsn: string): Promise<boolean | undefined> => {
        const slot = `SELECT confirmed_flush_lsn >= '${lsn}' AS done FROM pg_replication_slots WHERE slot_name = '${source.name}'`;
        return (await source.query<{ done: boolean }>(slot))[0]?.done;
      };
      await write(1);
      await expect.poll(rowsOfCopy, soon).toBe(100);
      await expect.poll(rowsOfItems, soon).toBe(100);

      toItems.strike(held);
      const first = await write(101);
      await expect.poll(rowsOfCopy, soon).toBe(200);
      await expect.poll(() => isAcknowledged(first), soon).toBe(true);
      expect(toItems.heal()).toBeGreaterThan(0);
      await expect.poll(rowsOfItems, soon).toBe(200);

      toCopy.strike(held);
      const second = await write(201);
      await expect.poll(rowsOfItems, soon).toBe(300);
      await expect.poll(() => isAcknowledged(second), soon).toBe(true);
      expect(await rowsOfCopy()).toBe(200);
      expect(toCopy.heal()).toBeGreaterThan(0);
      await expect.poll(rowsOfCopy, soon).toBe(300);
      await daemon.stop();
      expect(daemon.exit).toEqual({ code: 0, signal: null });
    });
  });
});
