// Databases of one's own on the servers that the integration tests share.
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { describe, inject } from 'vitest';
import type { PostgresMajor } from './postgres-binaries.ts';
import { wantedMajors } from './postgres-servers.ts';

/** One suite for each server version under test; a version that is not to be had is shown as skipped. */
export function describePostgres(name: string, suite: (major: PostgresMajor) => void): void {
  for (const major of wantedMajors()) {
    describe.skipIf(inject('postgres')[major] === undefined)(`${name}, PostgreSQL ${major}`, () => {
      suite(major);
    });
  }
}

/** For tests whose subject is the same in every version: one suite, on the newest server under test. */
export function describeNewestPostgres(name: string, suite: (major: PostgresMajor) => void): void {
  const newest = wantedMajors().at(-1) ?? 18;
  describe.skipIf(inject('postgres')[newest] === undefined)(`${name}, PostgreSQL ${newest}`, () => {
    suite(newest);
  });
}

/** An empty database, dropped with its slots and sessions when it is closed. */
export class TestDatabase {
  readonly major: PostgresMajor;
  readonly name: string;
  /** A superuser's. */
  readonly url: string;
  readonly #serverUrl: string;

  private constructor(major: PostgresMajor, serverUrl: string) {
    this.major = major;
    this.name = `t_${randomBytes(6).toString('hex')}`;
    this.#serverUrl = serverUrl;
    const url = new URL(serverUrl);
    url.pathname = `/${this.name}`;
    this.url = url.href;
  }

  /** In `encoding`, if one is named, with byte order. */
  static async create(major: PostgresMajor, encoding?: string): Promise<TestDatabase> {
    const server = inject('postgres')[major];
    if (server === undefined) throw new Error(`no PostgreSQL ${major} under test`);
    const database = new TestDatabase(major, server.url);
    const options = encoding === undefined ? '' : ` ENCODING '${encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'`;
    await database.#onServer(`CREATE DATABASE ${database.name}${options}`);
    return database;
  }

  /** The same database as another role. */
  urlAs(user: string, password: string): string {
    const url = new URL(this.url);
    url.username = user;
    url.password = password;
    return url.href;
  }

  async connect(): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: this.url });
    // A session that a test terminates must not end the test process; what a query was owed rejects by itself.
    client.on('error', () => undefined);
    await client.connect();
    return client;
  }

  /** One statement, or several without parameters, on a connection of its own. */
  async query<Row extends pg.QueryResultRow>(text: string, parameters?: readonly unknown[]): Promise<Row[]> {
    const client = await this.connect();
    try {
      return (await client.query<Row>(text, parameters === undefined ? undefined : [...parameters])).rows;
    } finally {
      await client.end();
    }
  }

  async close(): Promise<void> {
    const { name } = this;
    await this.#onServer(`
      SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = '${name}' AND active_pid IS NOT NULL;
      DO $$
      DECLARE
        slot record;
      BEGIN
        -- A terminated walsender lets go of its slot a moment later.
        FOR attempt IN 1 .. 200 LOOP
          EXIT WHEN NOT EXISTS (SELECT FROM pg_replication_slots WHERE database = '${name}' AND active);
          PERFORM pg_sleep(0.05);
        END LOOP;
        FOR slot IN SELECT slot_name FROM pg_replication_slots WHERE database = '${name}' LOOP
          PERFORM pg_drop_replication_slot(slot.slot_name);
        END LOOP;
      END $$`);
    await this.#onServer(`DROP DATABASE ${name} WITH (FORCE)`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #onServer(text: string): Promise<void> {
    const client = new pg.Client({ connectionString: this.#serverUrl });
    await client.connect();
    try {
      await client.query(text);
    } finally {
      await client.end();
    }
  }
}
