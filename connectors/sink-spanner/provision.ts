import { CausewayError } from '#core/errors.ts';
import { readCatalogue, readNames, type Catalogue } from './catalogue.ts';
import type { Client } from './client.ts';
import type { SinkConfig } from './config.ts';
import type { Dialect } from './dialect.ts';
import { FAILED_PRECONDITION, OK, PERMISSION_DENIED, spannerError, statusName, statusOf } from './errors.ts';
import { createStatement, type WantedTable } from './tables.ts';
import { snapshot, type Store } from './transaction.ts';

/** A change of the schema with rows behind it takes minutes. */
const DDL_MS = 30 * 60 * 1_000;
const POLL_MS = 500;
/** Another one that goes on at the same time can refuse this one, and make what it is about. */
const ATTEMPTS_MAX = 20;
const PAUSE_MS = 100;

export function statements(list: readonly string[]): string {
  return list.map((statement) => `${statement};`).join('\n');
}

export async function catalogueOf(store: Store, dialect: Dialect, signal: AbortSignal): Promise<Catalogue> {
  return await snapshot(store, 'the information schema', signal, (reader) => readCatalogue(reader, dialect));
}

export async function namesOf(store: Store, dialect: Dialect, signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
  return await snapshot(store, 'the information schema', signal, (reader) => readNames(reader, dialect));
}

/** Makes all tables that are missing, in one request. Errors: `sink_misconfigured` with the statements where they may not be made. */
export async function makeTables(
  store: Store,
  wanted: readonly WantedTable[],
  { provision, dialect }: Pick<SinkConfig, 'provision'> & { readonly dialect: Dialect },
  signal: AbortSignal,
): Promise<void> {
  const lacking = async (): Promise<readonly string[]> => {
    const names = await namesOf(store, dialect, signal);
    const missing = wanted.filter(({ name }) => !names.has(name.toLowerCase())).map((table) => createStatement(table, dialect));
    if (missing.length === 0 || provision === 'create') return missing;
    throw new CausewayError(
      'sink_misconfigured',
      `the sink lacks what these statements make (or set \`provision: create\`):\n${statements(missing)}`,
    );
  };
  await changeSchema(store.client, lacking, signal);
}

/** Runs the statements that `lacking` tells of until it tells of none. */
export async function changeSchema(client: Client, lacking: () => Promise<readonly string[]>, signal: AbortSignal): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const list = await lacking();
    if (list.length === 0) return;
    const status = await runStatements(client, list, signal);
    if (status === OK) return;
    if (status !== FAILED_PRECONDITION || attempt === ATTEMPTS_MAX) throw refused(status, list);
    await client.runtime.sleep(PAUSE_MS, signal);
  }
}

/** Returns the status that the statements ended with: `OK`, or why they are refused. */
async function runStatements(client: Client, list: readonly string[], signal: AbortSignal): Promise<number> {
  const startedMs = client.runtime.monotonicMs();
  const what = `a change of the schema of ${client.database}`;
  try {
    let state = await client.sendRaw(signal, async ({ admin }, options) => {
      const [{ latestResponse }] = await admin.updateDatabaseDdl({ database: client.database, statements: [...list] }, options);
      return latestResponse;
    });
    while (!state.done) {
      if (client.runtime.monotonicMs() - startedMs > DDL_MS) throw new CausewayError('sink_unavailable', `${what} goes on still`);
      await client.runtime.sleep(POLL_MS, signal);
      const { name } = state;
      [state] = await client.sendRaw(signal, ({ admin }, options) => admin.operationsClient.getOperation({ name } as never, options));
    }
    return state.error?.code ?? OK;
  } catch (error) {
    signal.throwIfAborted();
    const mapped = spannerError(error, what);
    const status = statusOf(error);
    if (status === null || mapped.code !== 'sink_misconfigured') throw mapped;
    return status;
  }
}

function refused(status: number, list: readonly string[]): CausewayError {
  const why = status === PERMISSION_DENIED ? ', for want of the right spanner.databases.updateDdl' : '';
  return new CausewayError(
    'sink_misconfigured',
    `the service refuses these statements (${statusName(status)}${why}):\n${statements(list)}`,
  );
}
