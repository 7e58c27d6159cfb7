// A replication stream on a database of its own, and what tests ask of it.
import pg from 'pg';
import type { SourceMessage } from '#core/event.ts';
import type { Runtime } from '#core/runtime.ts';
import type { SourceStream } from '#core/source.ts';
import { startupOptions, valueSettings } from '../../connectors/lib/postgres/session-settings.ts';
import { openPostgresStream, type StreamLimits } from '../../connectors/source-postgres/stream.ts';
import { takeSlot } from '../../connectors/source-postgres/take-slot.ts';
import { systemRuntime } from '../../src/runtime/runtime.ts';
import { CatalogueResolver } from './relation-resolver.ts';

export const publication = 'a "quoted" publication';

export type StreamFixtureOptions = {
  readonly url: string;
  /** Statements that make the tables, before slot and publication exist. */
  readonly tables: string;
  /** Over those that a value session sets. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly limits?: StreamLimits;
  /** Of the replication connection, where that is led another way. */
  readonly streamUrl?: string;
  readonly runtime?: Runtime;
};

export class StreamFixture implements AsyncDisposable {
  readonly client: pg.Client;
  readonly resolver: CatalogueResolver;
  readonly slot: string;
  readonly #options: StreamFixtureOptions;
  readonly #stack = new AsyncDisposableStack();

  private constructor(options: StreamFixtureOptions, client: pg.Client, slot: string) {
    this.#options = options;
    this.client = client;
    this.slot = slot;
    this.resolver = new CatalogueResolver(client);
  }

  static async create(options: StreamFixtureOptions): Promise<StreamFixture> {
    const client = new pg.Client({ connectionString: options.url });
    client.on('error', () => undefined);
    await client.connect();
    const slot = `s_${new URL(options.url).pathname.slice(1)}`;
    const fixture = new StreamFixture(options, client, slot);
    fixture.#stack.defer(() => client.end());
    await client.query(options.tables);
    await client.query(`CREATE PUBLICATION "a ""quoted"" publication" FOR ALL TABLES WITH (publish_via_partition_root = true)`);
    await client.query(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, [slot]);
    return fixture;
  }

  /** Disposed of with the fixture, if not before. */
  async open(signal = new AbortController().signal): Promise<OpenStream> {
    await takeSlot({ client: this.client, slot: this.slot, runtime: systemRuntime }, signal);
    return await this.openWithoutTaking(this.slot, signal);
  }

  async openWithoutTaking(slot: string, signal = new AbortController().signal): Promise<OpenStream> {
    const stream = await openPostgresStream(
      {
        clientConfig: {
          connectionString: this.#options.streamUrl ?? this.#options.url,
          options: startupOptions({ ...valueSettings, ...this.#options.settings }),
        },
        slot,
        publication,
        resolver: this.resolver,
        runtime: this.#options.runtime ?? systemRuntime,
        ...(this.#options.limits === undefined ? {} : { limits: this.#options.limits }),
      },
      signal,
    );
    const open = new OpenStream(stream, signal);
    this.#stack.use(open);
    return open;
  }

  /** Another session, ended with the fixture. */
  async session(): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: this.#options.url });
    client.on('error', () => undefined);
    await client.connect();
    this.#stack.defer(() => client.end());
    return client;
  }

  async confirmedFlush(): Promise<string> {
    const { rows } = await this.client.query<{ lsn: string }>(
      'SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = $1',
      [this.slot],
    );
    return rows[0]?.lsn ?? 'no slot';
  }

  /** What `text` reports as soon as it is `expected`; or the last answer, after a bound that a healthy server never needs. */
  async eventually(text: string, expected: unknown): Promise<unknown> {
    let answer: unknown;
    for (let attempt = 0; attempt < 1_000; attempt += 1) {
      const { rows } = await this.client.query<{ answer: unknown }>(`SELECT (${text}) AS answer`);
      answer = rows[0]?.answer;
      if (answer === expected) break;
      await systemRuntime.sleep(10, new AbortController().signal);
    }
    return answer;
  }

  /** Waits until so many status messages have come in from now on: the library writes their time into each. */
  async statusMessages(count: number): Promise<void> {
    const sentAt = `SELECT reply_time::text FROM pg_stat_replication WHERE pid = ${await this.walsenderPid()}`;
    for (let seen = 0; seen < count; seen += 1) {
      const { rows } = await this.client.query<{ reply_time: string }>(sentAt);
      await this.eventually(`(${sentAt}) IS DISTINCT FROM '${rows[0]?.reply_time ?? ''}'`, true);
    }
  }

  async walsenderPid(): Promise<number | null> {
    const { rows } = await this.client.query<{ pid: number | null }>(
      'SELECT active_pid AS pid FROM pg_replication_slots WHERE slot_name = $1',
      [this.slot],
    );
    return rows[0]?.pid ?? null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Reads message by message. */
export class OpenStream implements AsyncDisposable {
  readonly stream: SourceStream;
  readonly #batches: AsyncIterator<readonly SourceMessage[]>;
  #pending: SourceMessage[] = [];

  constructor(stream: SourceStream, signal: AbortSignal) {
    this.stream = stream;
    this.#batches = stream.messages(signal)[Symbol.asyncIterator]();
  }

  async next(): Promise<SourceMessage> {
    while (true) {
      const message = this.#pending.shift();
      if (message !== undefined) return message;
      const batch = await this.#batches.next();
      if (batch.done === true) throw new Error('the stream ended');
      this.#pending = [...batch.value];
    }
  }

  async batch(): Promise<readonly SourceMessage[]> {
    const batch = await this.#batches.next();
    if (batch.done === true) throw new Error('the stream ended');
    return batch.value;
  }

  /** Everything from begin to commit of the next transactions. Left out: keepalives, and empty ones, which PostgreSQL 14 sends too. */
  async transactions(count: number): Promise<SourceMessage[][]> {
    const transactions: SourceMessage[][] = [];
    let current: SourceMessage[] = [];
    while (transactions.length < count) {
      const message = await this.next();
      if (message.tag === 'keepalive') continue;
      current.push(message);
      if (message.tag !== 'commit') continue;
      if (current.length > 2) transactions.push(current);
      current = [];
    }
    return transactions;
  }

  async transaction(): Promise<SourceMessage[]> {
    return (await this.transactions(1))[0] ?? [];
  }

  /** As a `break` out of the iteration does. */
  async leave(): Promise<void> {
    await this.#batches.return?.();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stream[Symbol.asyncDispose]();
  }
}
