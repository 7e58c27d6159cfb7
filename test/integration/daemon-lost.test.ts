// What happens when files of the daemon, or what it made at the source, are lost: a state with a mend, and never "from now on".
import { expect, test } from 'vitest';
import { DaemonGround, soon } from '../support/daemon-ground.ts';
import { describeNewestPostgres } from '../support/postgres.ts';

describeNewestPostgres('losses under the daemon', (major) => {
  const trouble = async (ground: DaemonGround): Promise<string | undefined> => (await ground.status())?.trouble?.code;
  const count = async (ground: DaemonGround): Promise<number> => (await ground.sink.query('SELECT FROM t')).length;

  test('a lost control store, a lost log and a dropped slot are told, and the way of docs/resync.md mends them', async () => {
    await using ground = await DaemonGround.create(major);
    await ground.source.query('CREATE TABLE t (id int PRIMARY KEY, n int)');
    await ground.start();
    await ground.source.query('INSERT INTO t SELECT g, 0 FROM generate_series(1, 10) g');
    await expect.poll(() => count(ground), soon).toBe(10);
    await ground.daemon.kill();

    ground.lose('control');
    await ground.source.query('INSERT INTO t VALUES (11, 0)');
    await ground.start('failed');
    expect(await trouble(ground)).toBe('generation_behind');
    const above = /--above (\d+)/.exec((await ground.status())?.trouble?.message ?? '')?.[1] ?? '0';
    expect((await ground.causeway('lease', 'raise', '--above', above)).code).toBe(0);
    await expect.poll(() => trouble(ground), soon).toBe('checkpoint_lost');
    expect(await count(ground)).toBe(10);
    // A daemon that waits would make everything anew behind the back of whoever removes it.
    expect((await ground.causeway('pipeline', 'remove', '--confirm', 'main')).code).toBe(4);
    await ground.daemon.stop();
    // Whose the sink is only the lost store knew: it is freed by who says that nobody else has it.
    const foreign = await ground.causeway('pipeline', 'remove', '--confirm', 'main');
    expect([foreign.code, foreign.err]).toEqual([8, expect.stringContaining('sink_claimed')]);
    // Whose it is decides about the slot as well.
    expect(await ground.source.query('SELECT FROM pg_replication_slots WHERE database = current_database()')).toHaveLength(1);
    await mendByHand(ground, '--owner', /--owner (\w+)/.exec(foreign.err)?.[1] ?? '');

    await ground.daemon.kill();
    ground.lose('control', 'log');
    await ground.source.query('UPDATE t SET n = 2');
    await ground.start('failed');
    expect(await trouble(ground)).toBe('checkpoint_lost');
    await ground.daemon.stop();
    const [claim] = await ground.sink.query<{ owner: string }>('SELECT owner FROM causeway.sink_owner');
    await mendByHand(ground, '--owner', claim?.owner ?? '');

    await ground.daemon.kill();
    ground.lose('log');
    await ground.start('failed');
    expect(await trouble(ground)).toBe('log_truncated');
    await ground.daemon.stop();
    await mendByHand(ground);

    await ground.daemon.kill();
    await ground.source.query(
      `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '${ground.source.name}'`,
    );
    await expect
      .poll(() => ground.source.query(`SELECT pg_drop_replication_slot('${ground.source.name}')`).then(() => 'dropped', String), soon)
      .toBe('dropped');
    await ground.start('failed');
    expect(await trouble(ground)).toBe('source_slot_lost');
  });

  /** The steps of docs/resync.md, while nobody writes. */
  async function mendByHand(ground: DaemonGround, ...more: readonly string[]): Promise<void> {
    expect((await ground.causeway('pipeline', 'remove', '--confirm', 'main', ...more)).code).toBe(0);
    const rows = await ground.source.query<{ id: number; n: number }>('SELECT id, n FROM t');
    await ground.sink.query('TRUNCATE t');
    await ground.sink.query('INSERT INTO t SELECT * FROM json_populate_recordset(NULL::t, $1)', [JSON.stringify(rows)]);
    ground.configure('{ name: public.t, snapshot: never }');
    await ground.start();
    await ground.source.query('UPDATE t SET n = n + 1; DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 7)');
    const query = 'SELECT id, n FROM t ORDER BY id';
    const now = await ground.source.query(query);
    await expect.poll(() => ground.sink.query(query), soon).toEqual(now);
    // What is acknowledged stands in the checkpoint: a log that is lost before could be filled again from the slot.
    const [at] = await ground.source.query<{ lsn: string }>('SELECT pg_current_wal_lsn() AS lsn');
    const acknowledged = `SELECT FROM pg_replication_slots WHERE slot_name = '${ground.source.name}' AND confirmed_flush_lsn >= '${at?.lsn ?? ''}'`;
    await expect.poll(() => ground.source.query(acknowledged), soon).toHaveLength(1);
  }

  test('a sink that is the captured database itself never writes, over whatever address', async () => {
    await using ground = await DaemonGround.create(major, { sinkUrl: (source) => source.replace('127.0.0.1', 'localhost') });
    await ground.source.query('CREATE TABLE t (id int PRIMARY KEY, n int)');
    await ground.start();
    await ground.source.query('INSERT INTO t VALUES (1, 0)');
    await expect.poll(async () => (await ground.status())?.sinks[0]?.trouble?.code, soon).toBe('sink_misconfigured');
    const version = 'SELECT n, xmin::text AS written FROM t';
    const before = await ground.source.query(version);
    await ground.source.query("SELECT pg_logical_emit_message(true, 'elsewhere', '')");
    expect(await ground.source.query(version)).toEqual(before);
    expect(await ground.source.query("SELECT FROM pg_class WHERE relname = 'sink_progress'")).toEqual([]);
  });
});
