// Writers at a source, whatever befalls it, and the judgement of the copy once everything has come to rest: has the sink exactly what was
// committed, and each effect once?
import type pg from 'pg';
import { auditSchema, judge, type Judgement } from './accounting.ts';
import { ledgerSchema, openAccount, writer, type WriterAccount } from './ledger-writer.ts';
import type { PostgresServer } from './postgres-server.ts';

const writers = 3;
const database = 'app';

/** Where the ledger is copied to, as the judge sees it. */
export type LedgerSink = {
  /** Before the daemon first comes up. */
  prepare(): Promise<void>;
  /** From here on each effect is written down. Once the sink has its tables, and before the first change. */
  audit(): Promise<void>;
  judge(source: pg.Client, accounts: readonly WriterAccount[]): Promise<Judgement>;
};

/** The database `app` of a server. */
export function postgresLedgerSink(server: PostgresServer): LedgerSink {
  return {
    prepare: async () => {
      await server.createDatabase(database);
    },
    audit: async () => {
      await server.query(auditSchema, database);
    },
    judge: async (source, accounts) => {
      const sink = await server.connect(database);
      try {
        return await judge(source, sink, accounts);
      } finally {
        await sink.end();
      }
    },
  };
}

export class LedgerLoad {
  readonly #source: PostgresServer;
  readonly #sink: LedgerSink;
  readonly #transactionsPerSecond: number;
  readonly #accounts: readonly WriterAccount[] = Array.from({ length: writers }, (_, number) => openAccount(number + 1));

  private constructor(source: PostgresServer, sink: LedgerSink, transactionsPerSecond: number) {
    this.#source = source;
    this.#sink = sink;
    this.#transactionsPerSecond = transactionsPerSecond;
  }

  /** Makes the database `app` and its tables at the source, and what the sink wants. */
  static async create(of: {
    readonly source: PostgresServer;
    readonly sink: LedgerSink;
    readonly transactionsPerSecond: number;
  }): Promise<LedgerLoad> {
    await of.source.createDatabase(database);
    await of.sink.prepare();
    await of.source.query(ledgerSchema, database);
    return new LedgerLoad(of.source, of.sink, of.transactionsPerSecond);
  }

  /** Once the sink has its version tables, and before the first change. */
  async audit(): Promise<void> {
    await this.#sink.audit();
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
    try {
      await arrived(await clockOf(source));
      // At once: what the watermark claims has to be true when it claims it.
      return await this.#sink.judge(source, this.#accounts);
    } finally {
      await source.end();
    }
  }
}

async function clockOf(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ now: string }>('SELECT extract(epoch FROM clock_timestamp()) AS now');
  return Number(rows[0]?.now);
}
