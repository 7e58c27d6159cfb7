import type { protos } from '@google-cloud/spanner';
import type { SpannerClient } from '@google-cloud/spanner/build/src/v1/index.js';
import { present } from '#core/assert.ts';
import { backoffMs, type ErrorCode } from '#core/errors.ts';
import type { Client, CallOptions } from './client.ts';
import type { TypeCode } from './dialect.ts';
import { ABORTED, refusalOf, retryDelayMs, spannerError, statusOf } from './errors.ts';
import type { Sessions } from './sessions.ts';
import { Collector, type PartialResultSet, type ReadRow } from './result-set.ts';
import type { Wire } from './wire.ts';

/** An aborted transaction is tried again for so long; then the worker waits, as for a service that is down. */
const ABORTED_MS = 20_000;
const BACKOFF_FIRST_MS = 5;
const BACKOFF_MAX_MS = 250;

/** Keys in the key's own order. A range's bounds may be prefixes; without one it is open there. */
export type Keys =
  | { readonly tag: 'keys'; readonly keys: readonly (readonly Wire[])[] }
  | {
      readonly tag: 'range';
      readonly from: { readonly key: readonly Wire[]; readonly isIn: boolean } | null;
      readonly to: { readonly key: readonly Wire[]; readonly isIn: boolean } | null;
    };

export type Read = {
  readonly table: string;
  readonly columns: readonly string[];
  readonly keys: Keys;
  /** Most rows; all where it is absent. */
  readonly rowsMax?: number;
  /** Ends behind the row that reaches it. */
  readonly bytesMax?: number;
};

export type { ReadRow };

/** `isAll`: there are no more rows of those keys. */
export type Found = { readonly rows: readonly ReadRow[]; readonly isAll: boolean };

export type Reader = {
  /** Rows in key order. */
  read(read: Read): Promise<Found>;
  /** Rows of a query; parameters are texts of the types given. */
  query(query: Query): Promise<readonly ReadRow[]>;
};

export type Query = {
  readonly sql: string;
  readonly parameters?: readonly { readonly value: Wire; readonly code: TypeCode }[];
};

/** One statement of a commit. Rows of `replace` and `update` are in the order of `columns`. */
export type Mutation =
  | {
      readonly tag: 'replace' | 'update' | 'insert';
      readonly table: string;
      readonly columns: readonly string[];
      readonly rows: readonly (readonly Wire[])[];
    }
  | { readonly tag: 'delete'; readonly table: string; readonly keys: readonly (readonly Wire[])[] };

export type Work<T> = (reader: Reader) => Promise<{ readonly result: T; readonly mutations: readonly Mutation[] }>;

export type Store = {
  readonly client: Client;
  readonly sessions: Sessions;
  /** Told of each attempt that is repeated here. */
  readonly onRetry: (code: ErrorCode) => void;
};

/**
 * A read-write transaction: what `work` read is as it was read when its mutations take effect. `work` is called again where the service
 * aborts it. Without a mutation nothing is committed. Errors: `sink_…`; `CommitRefused`.
 */
export async function transact<T>({ client, sessions, onRetry }: Store, what: string, signal: AbortSignal, work: Work<T>): Promise<T> {
  const startedMs = client.runtime.monotonicMs();
  // The same session for each attempt: the service lets an older one win.
  const settled = await mapped(signal, what, () =>
    sessions.use(signal, async (session): Promise<() => T> => {
      for (let attempt = 0; ; attempt += 1) {
        const transaction = new Transaction(client, session, { readWrite: {} }, signal);
        try {
          const { result, mutations } = await work(transaction);
          if (mutations.length === 0) await transaction.rollback();
          else await transaction.commit(mutations);
          return () => result;
        } catch (error) {
          if (statusOf(error) === ABORTED) {
            const ownMs = backoffMs({ attempt, firstMs: BACKOFF_FIRST_MS, maxMs: BACKOFF_MAX_MS, random: client.runtime.random() });
            const pauseMs = Math.max(ownMs, retryDelayMs(error) ?? 0);
            if (client.runtime.monotonicMs() + pauseMs - startedMs > ABORTED_MS) throw error;
            onRetry(spannerError(error, what).code);
            await client.runtime.sleep(pauseMs, signal);
            continue;
          }
          // An outcome that is not known, or nobody waits for: the session goes, and its transaction with it.
          if (signal.aborted || isUnsettled(error)) throw error;
          await transaction.rollback();
          return () => {
            throw error;
          };
        }
      }
    }),
  );
  return await mapped(signal, what, () => Promise.try(settled));
}

/** Reads of one moment, at which everything that was committed before shows. */
export async function snapshot<T>(
  { client, sessions }: Store,
  what: string,
  signal: AbortSignal,
  work: (reader: Reader) => Promise<T>,
): Promise<T> {
  return await mapped(signal, what, () =>
    sessions.use(signal, (session) => work(new Transaction(client, session, { readOnly: { strong: true } }, signal))),
  );
}

async function mapped<T>(signal: AbortSignal, what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    signal.throwIfAborted();
    if (statusOf(error) === null) throw error;
    throw spannerError(error, what);
  }
}

/** The service's errors but those that say that nothing took effect. */
function isUnsettled(error: unknown): boolean {
  const status = statusOf(error);
  return status !== null && spannerError(error, '').code !== 'sink_misconfigured';
}

/** It begins with its first read. Used by one at a time until then. */
class Transaction implements Reader {
  readonly #client: Client;
  readonly #session: string;
  readonly #begin: Begin;
  readonly #signal: AbortSignal;
  #id: Uint8Array | string | null = null;

  constructor(client: Client, session: string, begin: Begin, signal: AbortSignal) {
    this.#client = client;
    this.#session = session;
    this.#begin = begin;
    this.#signal = signal;
  }

  async read({ table, columns, keys, rowsMax, bytesMax = Number.POSITIVE_INFINITY }: Read): Promise<Found> {
    if (keys.tag === 'keys' && keys.keys.length === 0) return { rows: [], isAll: true };
    const rows = await this.#rows(columns.length, bytesMax, (data, options, transaction) =>
      data.streamingRead(
        { session: this.#session, transaction, table, columns: [...columns], keySet: keySet(keys), limit: rowsMax ?? 0 },
        options,
      ),
    );
    return { rows: rows.rows, isAll: !rows.isCut && (rowsMax === undefined || rows.rows.length < rowsMax) };
  }

  async query({ sql, parameters = [] }: Query): Promise<readonly ReadRow[]> {
    const fields = Object.fromEntries(parameters.map(({ value }, at) => [`p${at + 1}`, value as protos.google.protobuf.IValue]));
    const paramTypes = Object.fromEntries(parameters.map(({ code }, at) => [`p${at + 1}`, { code }]));
    const { rows } = await this.#rows(null, Number.POSITIVE_INFINITY, (data, options, transaction) =>
      data.executeStreamingSql({ session: this.#session, transaction, sql, params: { fields }, paramTypes }, options),
    );
    return rows;
  }

  async commit(mutations: readonly Mutation[]): Promise<void> {
    const transactionId = present(this.#id, 'a read before the commit');
    const request = { session: this.#session, transactionId, mutations: mutations.map(asRequest) };
    try {
      await this.#client.sendRaw(this.#signal, async ({ data }, options) => {
        await data.commit(request, options);
      });
    } catch (error) {
      throw refusalOf(error) ?? error;
    }
  }

  /** Gives the locks back. */
  async rollback(): Promise<void> {
    const transactionId = this.#id;
    if (transactionId === null) return;
    await this.#client.sendRaw(this.#signal, async ({ data }, options) => {
      await data.rollback({ session: this.#session, transactionId }, options);
    });
  }

  async #rows(
    width: number | null,
    bytesMax: number,
    start: Start,
  ): Promise<{ readonly rows: readonly ReadRow[]; readonly isCut: boolean }> {
    return await this.#client.sendRaw(this.#signal, async ({ data }, options) => {
      const stream = start(data, options, this.#id === null ? { begin: this.#begin } : { id: this.#id });
      const collector = new Collector(width, bytesMax);
      const stop = (): void => stream.cancel();
      this.#signal.addEventListener('abort', stop, { once: true });
      try {
        // By its events: its iterator passes over messages, and then ends as if it were complete.
        await new Promise<void>((resolve, reject) => {
          stream.on('data', (message: PartialResultSet) => {
            this.#id ??= idOf(message);
            if (!collector.add(message)) return;
            stream.cancel();
            resolve();
          });
          stream.once('end', resolve);
          stream.on('error', reject);
        });
      } finally {
        this.#signal.removeEventListener('abort', stop);
      }
      return { rows: collector.rows(), isCut: collector.isCut };
    });
  }
}

type Begin = { readonly readWrite: object } | { readonly readOnly: { readonly strong: boolean } };
type Selector = { readonly begin: Begin } | { readonly id: Uint8Array | string };
type Start = (data: SpannerClient, options: CallOptions, transaction: Selector) => ReturnType<SpannerClient['streamingRead']>;

function idOf({ metadata }: PartialResultSet): Uint8Array | string | null {
  const id = metadata?.transaction?.id ?? '';
  return id.length === 0 ? null : id;
}

function keySet(keys: Keys): protos.google.spanner.v1.IKeySet {
  if (keys.tag === 'keys') return { keys: keys.keys.map(listOf) };
  if (keys.from === null && keys.to === null) return { all: true };
  const start = listOf(keys.from?.key ?? []);
  const end = listOf(keys.to?.key ?? []);
  return {
    ranges: [
      {
        ...(keys.from?.isIn === false ? { startOpen: start } : { startClosed: start }),
        ...(keys.to?.isIn === false ? { endOpen: end } : { endClosed: end }),
      },
    ],
  };
}

function asRequest(mutation: Mutation): protos.google.spanner.v1.IMutation {
  if (mutation.tag === 'delete') return { delete: { table: mutation.table, keySet: { keys: mutation.keys.map(listOf) } } };
  const write = { table: mutation.table, columns: [...mutation.columns], values: mutation.rows.map(listOf) };
  return { [mutation.tag]: write };
}

/** google.protobuf.ListValue. */
function listOf(values: readonly Wire[]): protos.google.protobuf.IListValue {
  return { values: values as protos.google.protobuf.IValue[] };
}
