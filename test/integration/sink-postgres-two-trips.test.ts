// Batches whose rows are all newer than what the sink holds, which take two round trips once a table is known.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { codeOf } from '#core/errors.ts';
import type { TableId, TableSchema } from '#core/schema.ts';
import type { Sink, SinkPartition } from '#core/sink.ts';
import { Flight } from '../../connectors/lib/postgres/flight.ts';
import { contractColumn, contractSchema, deleteAt, progressAt, scanned, sequenceAt, upsertAt } from '../contract/sink.ts';
import { postgresSink, takePartition } from '../support/postgres-sink-context.ts';
import { describePostgres, TestDatabase } from '../support/postgres.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

const never = new AbortController().signal;
const applied = { tag: 'applied' };
const stale = { tag: 'stale' };

const columns = [
  contractColumn('id', 'bigint', { tag: 'int', bits: 64, unsigned: false }, false),
  contractColumn('a', 'text', { tag: 'text' }),
];
const schema: TableSchema = contractSchema('public.orders' as TableId, columns);
const other: TableSchema = contractSchema('public.lines' as TableId, columns);

describePostgres('sink-postgres, rows that are all newer', (major) => {
  let database: TestDatabase;
  let opened: AsyncDisposableStack;

  beforeEach(async () => {
    opened = new AsyncDisposableStack();
    database = opened.use(await TestDatabase.create(major));
  });
  afterEach(() => opened.disposeAsync());

  /** A sink behind a proxy that has met both tables, with the keys 1 and 2 of each at sequence 1. */
  const ready = async (register: string): Promise<{ proxy: TcpProxy; sink: Sink; partition: SinkPartition; trips: () => number }> => {
    const url = new URL(database.url);
    const proxy = opened.use(await TcpProxy.create({ host: url.hostname, port: Number(url.port) }));
    url.hostname = '127.0.0.1';
    url.port = String(proxy.port);
    const sink = opened.use(postgresSink(url.href, { register, connections: 1 }));
    await sink.provision([schema, other], never);
    const partition = await takePartition(sink, 0, never);
    const rows = [schema, other].flatMap((table) => ['1', '2'].map((id) => upsertAt(table, sequenceAt(1), [id, 'x'])));
    await partition.apply({ rows, progress: null }, never);
    let trips = 0;
    proxy.onRequest = () => {
      trips += 1;
      return 'pass';
    };
    return { proxy, sink, partition, trips: () => trips };
  };
  // The name of the statement, in each Bind message.
  const isCommit = (piece: Buffer): boolean => piece.includes('causeway-commit');
  const newer = [
    upsertAt(schema, sequenceAt(5), ['1', 'y']),
    deleteAt(schema, sequenceAt(5), '2'),
    upsertAt(other, sequenceAt(5), ['3', 'z']),
  ];

  describe.each(['sidecar', 'inline'])('register %s', (register) => {
    it('are written, with the progress, in two round trips', async () => {
      const { sink, partition, trips } = await ready(register);
      expect(await partition.apply({ rows: newer, progress: progressAt(3) }, never)).toEqual([applied, applied, applied]);
      expect(trips()).toBe(2);
      expect((await sink.progress(never)).get(0)).toEqual(progressAt(3));
      expect(await scanned(sink, schema, never)).toMatchObject([
        { sequence: sequenceAt(5), row: ['1', 'y'] },
        { sequence: sequenceAt(5), row: null },
      ]);
      expect((await scanned(sink, other, never)).map(({ row }) => row)).toEqual([
        ['1', 'x'],
        ['2', 'x'],
        ['3', 'z'],
      ]);
    });

    it('a stale one among them changes nothing and is told, whatever else the batch holds', async () => {
      const { sink, partition } = await ready(register);
      await partition.apply({ rows: [upsertAt(schema, sequenceAt(9), ['1', 'newest'])], progress: null }, never);
      const rows = [upsertAt(schema, sequenceAt(8), ['1', 'older']), upsertAt(schema, sequenceAt(8), ['2', 'y'])];
      expect(await partition.apply({ rows, progress: null }, never)).toEqual([stale, applied]);
      expect((await scanned(sink, schema, never)).map(({ row }) => row)).toEqual([
        ['1', 'newest'],
        ['2', 'y'],
      ]);
    });

    it('cut before the commit arrives: nothing took effect, the same call takes effect', async () => {
      const { proxy, sink, partition } = await ready(register);
      proxy.onRequest = (piece) => (isCommit(piece) ? 'cut' : 'pass');
      await expect(partition.apply({ rows: newer, progress: progressAt(3) }, never)).rejects.toMatchObject({ code: 'sink_unavailable' });
      proxy.onRequest = () => 'pass';
      expect((await scanned(sink, schema, never)).map(({ sequence }) => sequence)).toEqual([sequenceAt(1), sequenceAt(1)]);
      expect((await sink.progress(never)).size).toBe(0);
      expect(await partition.apply({ rows: newer, progress: progressAt(3) }, never)).toEqual([applied, applied, applied]);
    });

    it('cut after the commit arrived: the reply is lost, and the same call finds its own rows', async () => {
      const { proxy, sink, partition } = await ready(register);
      let asked = false;
      proxy.onRequest = (piece) => {
        asked ||= isCommit(piece);
        return 'pass';
      };
      proxy.onReply = () => (asked ? 'cut' : 'pass');
      await expect(partition.apply({ rows: newer, progress: progressAt(3) }, never)).rejects.toMatchObject({ code: 'sink_unavailable' });
      proxy.onRequest = () => 'pass';
      proxy.onReply = () => 'pass';
      expect((await sink.progress(never)).get(0)).toEqual(progressAt(3));
      expect(await partition.apply({ rows: newer, progress: progressAt(3) }, never)).toEqual([stale, stale, stale]);
    });

    it('of a fenced holder change nothing', async () => {
      const { sink, partition } = await ready(register);
      await takePartition(sink, 0, never);
      const code = await partition.apply({ rows: newer, progress: progressAt(3) }, never).catch((error: unknown) => codeOf(error));
      expect(code).toBe('partition_fenced');
      expect((await scanned(sink, schema, never)).map(({ sequence }) => sequence)).toEqual([sequenceAt(1), sequenceAt(1)]);
    });
  });

  it('an older delete that waits for a newer insert leaves the row, and a newer one removes it', async () => {
    const { sink, partition } = await ready('sidecar');
    const second = await takePartition(sink, 1, never);
    for (let round = 1; round <= 30; round += 1) {
      const [older, newest] = [sequenceAt(round * 10), sequenceAt(round * 10 + 1)];
      const [put, remove] = round % 2 === 0 ? [older, newest] : [newest, older];
      await Promise.all([
        partition.apply({ rows: [upsertAt(schema, put, ['1', 'x'])], progress: null }, never),
        second.apply({ rows: [deleteAt(schema, remove, '1')], progress: null }, never),
      ]);
      const [entry] = await scanned(sink, schema, never);
      expect(entry?.sequence).toBe(newest);
      expect(entry?.row === null).toBe(remove === newest);
    }
  });

  it('of two schema versions of one table have statements of one text, each of which is prepared once', async () => {
    const { sink, partition, proxy } = await ready('sidecar');
    const respelled = { ...(columns[1] ?? contractColumn('a', 'text', { tag: 'text' })), sourceType: 'character varying' };
    const second = contractSchema(schema.table, [...columns.slice(0, 1), respelled]);
    expect(second.version).not.toBe(schema.version);
    await partition.apply({ rows: [upsertAt(second, sequenceAt(2), ['1', 'y'])], progress: null }, never);
    // What a connection has prepared goes with it.
    proxy.cutAll();
    await sink.progress(never).catch(() => undefined);
    const rows = [upsertAt(schema, sequenceAt(5), ['1', 'z']), upsertAt(second, sequenceAt(5), ['2', 'z'])];
    for (const at of [5, 6]) {
      const newest = rows.map((row) => ({ ...row, sequence: sequenceAt(at) }));
      expect(await partition.apply({ rows: newest, progress: null }, never)).toEqual([applied, applied]);
    }
  });

  it('with a type that was made again under its name are refused once, and then prepared anew', async () => {
    const mood = contractSchema('public.moods' as TableId, [
      ...columns.slice(0, 1),
      contractColumn('mood', 'public.mood', { tag: 'enum', labels: ['good', 'bad'] }),
    ]);
    await database.query(`CREATE TYPE public.mood AS ENUM ('good', 'bad')`);
    const { sink, partition } = await ready('sidecar');
    await sink.provision([mood], never);
    const put = (at: number) => partition.apply({ rows: [upsertAt(mood, sequenceAt(at), ['1', 'bad'])], progress: null }, never);
    for (const at of [1, 2]) expect(await put(at)).toEqual([applied]);
    // How a label is removed.
    await database.query(`ALTER TYPE public.mood RENAME TO mood_before; CREATE TYPE public.mood AS ENUM ('bad');
      ALTER TABLE public.moods ALTER mood TYPE public.mood USING mood::text::public.mood; DROP TYPE public.mood_before`);
    await expect(put(3)).rejects.toMatchObject({ code: 'sink_misconfigured' });
    expect(await put(3)).toEqual([applied]);
    expect(await put(4)).toEqual([applied]);
  });

  describe('statements in one flight', () => {
    it('stop at the first that fails, so that what follows never runs without it', async () => {
      const client = await database.connect();
      await client.query('CREATE TABLE public.trace (at int)');
      const insert = { text: 'INSERT INTO public.trace VALUES ($1)', name: 'trace', values: ['1'] };
      await expect(client.query(new Flight([{ text: 'BEGIN READ WONDERFUL' }, insert])).answered).rejects.toMatchObject({ code: '42601' });
      await expect(client.query(new Flight([insert, { text: 'SELECT 1 / 0' }, insert])).answered).rejects.toMatchObject({ code: '22012' });
      expect((await client.query('SELECT FROM public.trace')).rowCount).toBe(0);
      // The name stands at the server since the second flight, and is neither forgotten nor given twice.
      const answers = await client.query(new Flight([insert, { text: 'SELECT at, NULL FROM public.trace' }, insert])).answered;
      expect(answers).toEqual([
        { rows: [], command: 'INSERT', count: 1 },
        { rows: [['1', null]], command: 'SELECT', count: 1 },
        { rows: [], command: 'INSERT', count: 1 },
      ]);
      await client.query(insert.text.replace('$1', '2'));
      expect((await client.query({ ...insert, values: ['3'] })).rowCount).toBe(1);
      await client.end();
    });
  });
});
