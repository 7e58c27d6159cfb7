// Writers at a source, whatever befalls it, and the judgement of the copy once everything has come to rest: has the sink exactly what was
// committed, and each effect once?
import type pg from 'pg';
import { auditSchema, judge, type Judgement } from './accounting.ts';
import { ledgerSchema, openAccount, writer, type WriterAccount } from './ledger-writer.ts';
import type { PostgresServer } from './postgres-server.ts';

const writers = 3;
const database = 'app';

export class LedgerLoad {
  readonly #source: PostgresServer;
  readonly #sink: PostgresServer;
  readonly #transactionsPerSecond: number;
  readonly #accounts: readonly WriterAccount[] = Array.from({ length: writers }, (_, number) => openAccount(number + 1));

  private constructor(source: PostgresServer, sink: PostgresServer, transactionsPerSecond: number) {
    this.#source = source;
    this.#sink = sink;
    this.#transactionsPerSecond = transactionsPerSecond;
  }

  /** Makes the database `app` on both servers, and the tables at the source. */
  static async create(of: {
    readonly source: PostgresServer;
    readonly sink: PostgresServer;
    readonly transactionsPerSecond: number;
  }): Promise<LedgerLoad> {
    await of.source.createDatabase(database);
    await of.sink.createDatabase(database);
    await of.source.query(ledgerSchema, database);
    return new LedgerLoad(of.source, of.sink, of.transactionsPerSecond);
  }

  /** Once the sink has its version tables, and before the first change. */
  async audit(): Promise<void> {
    await this.#sink.query(auditSchema, database);
  }

  /** Transactions whose commit was answered. */
  get committed(): number {
    return this.#accounts.reduce((sum, account) => sum + account.committed.size, 0);
  }

  /** Seconds since 1970 on the source's clock. */
  async now(): Promise<number> {
    const client = await this.#source.connect(database);
    try {
      return await clockOf(client);
    } finally {
      await client.end();
    }
  }

  /** Runs the faults while writers write, waits until the watermark has reached their end, and judges. */
  async under(
    random: () => number,
    { faults, arrived }: { readonly faults: () => Promise<void>; readonly arrived: (seconds: number) => Promise<void> },
  ): Promise<Judgement> {
    const load = new AbortController();
    const writing = this.#accounts.map((account) =>
      writer(
        account,
        {
          connect: () => this.#source.connect(database),
          seed: Math.floor(random() * 2 ** 32),
          transactionsPerSecond: this.#transactionsPerSecond,
        },
        load.signal,
      ),
    );
    try {
      await Promise.race([faults(), Promise.all(writing)]);
    } finally {
      load.abort();
      await Promise.all(writing);
    }
    const source = await this.#source.connect(database);
    const sink = await this.#sink.connect(database);
    try {
      await arrived(await clockOf(source));
      // At once: what the watermark claims has to be true when it claims it.
      return await judge(source, sink, this.#accounts);
    } finally {
      await source.end();
      await sink.end();
    }
  }
}

async function clockOf(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ now: string }>('SELECT extract(epoch FROM clock_timestamp()) AS now');
  return Number(rows[0]?.now);
}
