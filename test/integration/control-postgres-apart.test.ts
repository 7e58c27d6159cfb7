// A control store must outlive the databases that are failed over: check says so, and the daemon refuses it.
import { expect, test } from 'vitest';
import { DaemonGround, soon } from '../support/daemon-ground.ts';
import { describeNewestPostgres, TestDatabase } from '../support/postgres.ts';

/** Another address of the same database, which only the server itself shows. */
function otherAddress(url: string): string {
  return url.replace('127.0.0.1', 'localhost');
}

describeNewestPostgres('a control store beside the databases', (major) => {
  test('in the source itself it is refused, by check and by the daemon', async () => {
    await using ground = await DaemonGround.create(major, {
      control: ({ url }) => `{ kind: postgres, url: '${otherAddress(url)}', provision: create }`,
    });
    await ground.source.query('CREATE TABLE orders (id int8 PRIMARY KEY)');
    const { code, out } = await ground.causeway('check', '--only', 'control');
    expect(code).toBe(1);
    expect(out).toMatch(/× the control store is in a database that is failed over +G-007\n +main: source\n/);
    await ground.start('failed');
    expect(ground.daemon.log.join('\n')).toContain('the control store is in the database of the source');
    expect(await ground.source.query('SELECT slot_name FROM pg_replication_slots WHERE database = current_database()')).toEqual([]);
  });

  test('on the same server it is a warning, and the daemon runs with it', async () => {
    await using store = await TestDatabase.create(major);
    await using ground = await DaemonGround.create(major, { control: () => `{ kind: postgres, url: '${store.url}', provision: create }` });
    await ground.source.query('CREATE TABLE orders (id int8 PRIMARY KEY)');
    const { code, out } = await ground.causeway('check', '--only', 'control');
    expect(code).toBe(0);
    expect(out).toMatch(
      /‼ the control store is on the server of a database that is failed over.* G-007\n +main: source\n +main: sink copy\n/,
    );
    await ground.start();
    await ground.source.query('INSERT INTO orders VALUES (1)');
    await expect.poll(() => ground.sink.query('SELECT id::int FROM orders'), soon).toEqual([{ id: 1 }]);
    const [row] = await store.query<{ holder: string }>(
      "SELECT value->>'holder' AS holder FROM causeway_control.control_row WHERE key = 'lease/main'",
    );
    expect(row?.holder).toMatch(/^[0-9a-f]{16}$/);
  });
});
