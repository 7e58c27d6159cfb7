import type pg from 'pg';
import { present } from '#core/assert.ts';
import type { ControlKey, ControlRow, ControlStore, RowVersion, Swap } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import { randomName } from '#core/random-name.ts';
import type { Runtime } from '#core/runtime.ts';
import { callMsFor, jsonText, withinTime } from '../lib/control/call.ts';
import { ClientPool } from '../lib/postgres/client-pool.ts';
import {
  describeConnection,
  sqlstateOf,
  valueSettings,
  withClient,
  type Connection,
  type SessionOptions,
} from '../lib/postgres/connection.ts';
import { DATABASE_NAME } from '../lib/postgres/database-name.ts';
import { tableName, verifyTable, type Place } from './provision.ts';

/** A renewal must not wait for a long list, nor behind a connection that hangs. */
const CONNECTIONS_MAX = 4;
/** Behind every key that begins with a prefix. */
const LAST_CHARACTER = '\u{10ffff}';
const INSUFFICIENT_PRIVILEGE = '42501';

type StoredRow = { readonly key: ControlKey; readonly value: unknown; readonly version: RowVersion };

/** Rows in one table. Each call is one statement, and so one transaction, on the primary. */
export class PostgresControlStore implements ControlStore {
  readonly #connection: Connection;
  readonly #options: SessionOptions;
  readonly #pool: ClientPool;
  readonly #table: string;
  readonly #runtime: Runtime;
  readonly #callMs: number;
  #closed = false;

  constructor(of: Place & { readonly connection: Connection; readonly leaseTtlMs: number; readonly runtime: Runtime }) {
    this.#connection = of.connection;
    this.#runtime = of.runtime;
    this.#callMs = callMsFor(of.leaseTtlMs);
    this.#table = tableName(of.schema);
    this.#options = { applicationName: 'causeway/control', settings: sessionSettings(this.#callMs), role: 'control' };
    this.#pool = new ClientPool({ connection: of.connection, options: this.#options, connectionsMax: CONNECTIONS_MAX }, (client) =>
      verifyTable(client, of),
    );
  }

  database(signal: AbortSignal): Promise<string | null> {
    return this.#within(signal, (call) =>
      withClient(this.#connection, this.#options, call, async (client) => {
        try {
          const { rows } = await client.query<{ name: string }>(DATABASE_NAME);
          return present(rows[0], 'the name of the database').name;
        } catch (error) {
          if (sqlstateOf(error) === INSUFFICIENT_PRIVILEGE) return null;
          throw error;
        }
      }),
    );
  }

  get(key: ControlKey, signal: AbortSignal): Promise<ControlRow | null> {
    return this.#use(signal, (client) => this.#row(client, key));
  }

  swap(
    write: { readonly key: ControlKey; readonly value: unknown; readonly expected: RowVersion | null },
    signal: AbortSignal,
  ): Promise<Swap> {
    const { key, expected } = write;
    const text = jsonText(write.value);
    // Nothing but chance: a number would come again in a database that was restored from a copy.
    const version = randomName(this.#runtime) as RowVersion;
    return this.#use(signal, async (client): Promise<Swap> => {
      const { rowCount } = await (expected === null
        ? client.query(`INSERT INTO ${this.#table} (key, value, version) VALUES ($1, $2, $3) ON CONFLICT (key) DO NOTHING`, [
            key,
            text,
            version,
          ])
        : client.query(`UPDATE ${this.#table} SET value = $2, version = $3 WHERE key = $1 AND version = $4`, [
            key,
            text,
            version,
            expected,
          ]));
      return rowCount === 1 ? { tag: 'stored', version } : { tag: 'conflict', current: await this.#row(client, key) };
    });
  }

  remove(key: ControlKey, expected: RowVersion, signal: AbortSignal): Promise<Swap | { readonly tag: 'removed' }> {
    return this.#use(signal, async (client) => {
      const { rowCount } = await client.query(`DELETE FROM ${this.#table} WHERE key = $1 AND version = $2`, [key, expected]);
      return rowCount === 1 ? { tag: 'removed' as const } : { tag: 'conflict' as const, current: await this.#row(client, key) };
    });
  }

  list(prefix: string, signal: AbortSignal): Promise<readonly ControlRow[]> {
    return this.#use(signal, async (client) => {
      const select = `SELECT key, value, version FROM ${this.#table} WHERE key >= $1 AND key < $2 ORDER BY key`;
      return (await client.query<StoredRow>(select, [prefix, prefix + LAST_CHARACTER])).rows;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#pool[Symbol.asyncDispose]();
  }

  async #row(client: pg.Client, key: ControlKey): Promise<ControlRow | null> {
    const { rows } = await client.query<StoredRow>(`SELECT key, value, version FROM ${this.#table} WHERE key = $1`, [key]);
    return rows[0] ?? null;
  }

  async #use<T>(signal: AbortSignal, work: (client: pg.Client) => Promise<T>): Promise<T> {
    if (this.#closed) throw new CausewayError('control_unavailable', 'the control store is closed');
    return await this.#within(signal, (call) => this.#pool.use(call, work));
  }

  #within<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const what = `the control store ${describeConnection(this.#connection)}`;
    return withinTime({ runtime: this.#runtime, callMs: this.#callMs, what }, signal, work);
  }
}

function sessionSettings(callMs: number): Readonly<Record<string, string>> {
  return {
    ...valueSettings,
    // One statement sees what was committed before it, and an update looks again at a row that it had to wait for.
    default_transaction_isolation: 'read committed',
    default_transaction_read_only: 'off',
    default_transaction_deferrable: 'off',
    // A swap that was answered is durable, whatever the server's or the role's default.
    synchronous_commit: 'on',
    // Whoever asked has given up by then: nothing of it may take effect much later.
    statement_timeout: String(callMs),
    lock_timeout: String(callMs),
    idle_in_transaction_session_timeout: String(callMs),
    idle_session_timeout: '0',
    jit: 'off',
  };
}
