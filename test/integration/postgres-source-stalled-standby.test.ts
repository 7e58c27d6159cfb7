// A commit that waits for a synchronous standby stands in the log of the source, and no snapshot shows it yet (counterexample 7).
import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import { controlKeys } from '#core/control-rows.ts';
import type { SourceBegin } from '#core/event.ts';
import type { LoadRow } from '#core/load-row.ts';
import type { Position } from '#core/position.ts';
import type { RowReader } from '#core/row-reader.ts';
import type { TableId } from '#core/schema.ts';
import type { Source, SourceStream } from '#core/source.ts';
import { runCapture } from '../../src/capture/capture.ts';
import { defaultCaptureOptions } from '../../src/capture/deps.ts';
import { silentObserver } from '../../src/capture/observer.ts';
import { Barrier, type Chunk, type ChunkOutcome } from '../../src/chunk/barrier.ts';
import { ShownTransactions } from '../../src/chunk/shown.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import { soon } from '../support/daemon-ground.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { MemoryLog, MemoryLogStore } from '../support/memory-log.ts';
import { PostgresServer } from '../support/postgres-server.ts';
import { postgresSource } from '../support/postgres-source.ts';
import { describeNewestPostgres } from '../support/postgres.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { realRuntime } from '../support/test-runtime.ts';

const ITEMS = 'public.items' as TableId;

describeNewestPostgres('while the standby stalls', (major) => {
  test('a first start loads a row that was only waiting for the standby', async () => {
    await using server = await PostgresServer.create({ major });
    await server.query('CREATE TABLE items (id text PRIMARY KEY)');
    await stall(server);
    const writer = await server.connect();
    const { answer } = await leftWaiting(server, writer, "INSERT INTO items VALUES ('early')");
    await using source = postgresSource({ url: server.url(), pipeline: 'stalled', tables: ['public.items'] });
    expect((await source.inspect(AbortSignal.timeout(60_000))).tables.map(({ holdsRows }) => holdsRows)).toEqual([false]);
    const log = new MemoryLogStore({ partitions: 1, recordBytesMax: 1_000_000 });
    const control = new MemoryControlStore();
    const stop = new AbortController();
    const ended = runCapture(
      {
        pipeline: 'stalled',
        describedAs: null,
        source,
        log: new MemoryLog(log),
        control,
        codec: jsonCodec,
        runtime: realRuntime(),
        logger: silentLogger,
        observer: silentObserver,
        sinks: ['warm'],
        snapshotNever: () => false,
        options: defaultCaptureOptions,
      },
      { stop: stop.signal, kill: new AbortController().signal },
    );
    // The slot begins behind the commit, and is there only once the commit shows.
    await expect.poll(() => waiting(server, 'Lock/transactionid'), soon).toHaveLength(1);
    await goOn(server);
    await answer;
    await writer.end();
    const key = controlKeys.load('stalled', ITEMS, null);
    const load = async (): Promise<LoadRow | undefined> => (await control.get(key, stop.signal))?.value as LoadRow | undefined;
    await expect.poll(load, soon).toMatchObject({ state: 'done', rows: 1, after: '["public.items","early"]' });
    stop.abort();
    await ended;
    const keys = log.partition(0).records.flatMap((record) => (record.key === null ? [] : [record.key]));
    expect(keys).toEqual(['["public.items","early"]']);
  });

  test('a chunk waits for what the stream has shown, where marks alone bring an old row back', async () => {
    await using server = await PostgresServer.create({ major });
    await server.query("CREATE TABLE items (id text PRIMARY KEY, value text); INSERT INTO items VALUES ('a', 'old'), ('b', 'old')");
    const newSource = (): Source => postgresSource({ url: server.url(), pipeline: 'stalled', tables: ['public.items'] });
    await using source = newSource();
    await source.provision('create', AbortSignal.timeout(60_000));
    await using first = await Follower.open(source, []);
    await stall(server);
    const writer = await server.connect();
    const { answer } = await leftWaiting(server, writer, "UPDATE items SET value = 'new' WHERE id = 'a'");
    await expect.poll(() => first.changed, soon).toEqual(['["public.items","a"]']);
    const update = present(first.changes[0], 'the update');

    const naive = placed(await first.chunk({ isNaive: true }));
    expect(naive.low).toBeGreaterThan(update.begin.commit);
    // It would stand above the update, and so in its place.
    expect(valuesOf(naive)).toEqual({ a: 'old', b: 'old' });

    const ours = first.chunk();
    await expect.poll(() => first.refusals, soon).toBeGreaterThan(1);
    // The standby delays the chunk, never the stream.
    await server.query("SET synchronous_commit = local; INSERT INTO items VALUES ('c', 'later')");
    await expect.poll(() => first.changed, soon).toContain('["public.items","c"]');
    const stored = present(first.barrier.shown.upTo(update.begin.commit, 1_000), 'what is stored with a checkpoint at the update');
    expect(stored).toEqual([update.begin.transactionId]);

    // A restart: what is acknowledged is shown to nobody again.
    first.acknowledge(update.end);
    await first[Symbol.asyncDispose]();
    expect(await ours).toEqual({ tag: 'discarded', reason: 'connection' });
    await using again = newSource();
    const forgetful = await Follower.open(again, []);
    expect(valuesOf(placed(await forgetful.chunk()))).toEqual({ a: 'old', b: 'old', c: 'later' });
    expect(forgetful.changed).not.toContain('["public.items","a"]');
    await forgetful[Symbol.asyncDispose]();

    await using second = await Follower.open(again, stored);
    await using unknowing = again.rows();
    const unknown = new ShownTransactions(null, 100);
    unknown.looked(await unknowing.look(second.signal));
    expect(unknown.allowsAt(0n, await unknowing.look(second.signal))).toBe(false);
    const late = second.chunk();
    await expect.poll(() => second.refusals, soon).toBeGreaterThan(1);
    await goOn(server);
    await answer;
    await writer.end();
    const chunk = placed(await late);
    expect(chunk.low).toBeGreaterThan(update.begin.commit);
    expect(valuesOf(chunk)).toEqual({ a: 'new', b: 'old', c: 'later' });
    expect(second.barrier.shown.upTo(update.begin.commit, 1_000)).toEqual([]);
    await expect.poll(async () => unknown.allowsAt(0n, await unknowing.look(second.signal)), soon).toBe(true);
  });
});

/** Commits wait from now on, unless their session says otherwise. */
async function stall(server: PostgresServer): Promise<void> {
  await server.query("ALTER SYSTEM SET synchronous_standby_names = 'stalled'");
  await server.query('SELECT pg_reload_conf()');
  const setting = "SELECT FROM pg_settings WHERE name = 'synchronous_standby_names' AND setting = 'stalled'";
  await expect.poll(() => server.query(setting), soon).toHaveLength(1);
  // It is the checkpointer that makes commits wait: before its next checkpoint it reads the setting too.
  await server.query('CHECKPOINT');
}

async function goOn(server: PostgresServer): Promise<void> {
  await server.query('ALTER SYSTEM RESET synchronous_standby_names');
  await server.query('SELECT pg_reload_conf()');
}

async function waiting(server: PostgresServer, event: string): Promise<readonly unknown[]> {
  return await server.query(`SELECT FROM pg_stat_activity WHERE wait_event_type || '/' || wait_event = '${event}'`);
}

/** Its commit stands in the log then, and the promise in the result is of its answer. */
async function leftWaiting(server: PostgresServer, writer: pg.Client, statement: string): Promise<{ readonly answer: Promise<unknown> }> {
  const answer = writer.query(statement);
  answer.catch(() => undefined);
  await expect.poll(() => waiting(server, 'IPC/SyncRep'), soon).toHaveLength(1);
  return { answer };
}

function placed(outcome: ChunkOutcome): Chunk {
  if (outcome.tag !== 'placed') throw new Error(`the chunk was discarded: ${outcome.reason}`);
  return outcome.chunk;
}

function valuesOf(chunk: Chunk): Readonly<Record<string, string | null | undefined>> {
  return Object.fromEntries(chunk.cold.map(({ row }) => [row?.[0] ?? '', row?.[1]]));
}

type Seen = { readonly begin: SourceBegin; readonly key: string; readonly end: Position };

/** Follows the stream and feeds a barrier, as capture does. */
class Follower implements AsyncDisposable {
  readonly barrier: Barrier;
  /** What the stream showed, in order. */
  readonly changes: Seen[] = [];
  /** Reads that were not made, since their snapshot was not accepted. */
  refusals = 0;
  readonly #stream: SourceStream;
  readonly #rows: RowReader;
  readonly #ended = new AbortController();
  readonly #chunks: Promise<unknown>[] = [];
  #following: Promise<void> = Promise.resolve();

  private constructor(of: { readonly stream: SourceStream; readonly rows: RowReader; readonly shown: readonly string[] }) {
    this.barrier = new Barrier({
      runtime: realRuntime(),
      name: randomBytes(8).toString('hex'),
      shown: new ShownTransactions(of.shown, 100),
    });
    this.#stream = of.stream;
    this.#rows = of.rows;
  }

  static async open(source: Source, shown: readonly string[]): Promise<Follower> {
    const stream = await source.open(AbortSignal.timeout(60_000));
    const follower = new Follower({ stream, rows: source.rows(), shown });
    follower.#following = follower.#follow().catch((error: unknown) => {
      if (!follower.signal.aborted) follower.#ended.abort(error);
    });
    return follower;
  }

  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  get changed(): readonly string[] {
    return this.changes.map(({ key }) => key);
  }

  acknowledge(position: Position): void {
    this.#stream.acknowledge(position);
  }

  /** `isNaive`: rows are read as soon as the low mark is there. */
  async chunk({ isNaive = false } = {}): Promise<ChunkOutcome> {
    const rows = this.#rows;
    const reader: RowReader = {
      mark: (content, signal) => rows.mark(content, signal),
      look: (signal) => rows.look(signal),
      read: async (wanted, signal) => {
        const read = await rows.read(isNaive ? { ...wanted, accepts: () => true } : wanted, signal);
        if (read === null) this.refusals += 1;
        return read;
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
    const range = { tag: 'between', after: null, upTo: null } as const;
    const limits = { rowsMax: 100, bytesMax: 100_000, hotMax: 100, holdsStream: false };
    const chunk = this.barrier.chunk({ table: ITEMS, range, ...limits, purpose: { tag: 'load', sink: null } }, reader, this.signal);
    this.#chunks.push(chunk);
    return await chunk;
  }

  /** The source has taken what was acknowledged. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.barrier.disconnected();
    await Promise.allSettled(this.#chunks);
    await this.#stream[Symbol.asyncDispose]();
    this.#ended.abort(new Error('the follower ended'));
    await this.#following;
    await this.#rows[Symbol.asyncDispose]();
  }

  async #follow(): Promise<void> {
    let begin: SourceBegin | null = null;
    let keys: string[] = [];
    for await (const messages of this.#stream.messages(this.signal)) {
      for (const message of messages) {
        if (message.tag === 'begin') begin = message;
        if (message.tag === 'change') keys.push(message.key);
        if (message.tag !== 'commit') continue;
        for (const key of keys) this.changes.push({ begin: present(begin, 'a begin'), key, end: message.position });
        keys = [];
      }
      for (let at = 0; at < messages.length;) {
        const { next, due } = this.barrier.observe(messages, at);
        for (const { placed: isPlaced } of due) isPlaced();
        at = next;
      }
    }
  }
}
