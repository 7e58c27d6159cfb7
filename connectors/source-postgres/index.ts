import type pg from 'pg';
import { present } from '#core/assert.ts';
import type { ConnectorContext, SourceConnector, TableSelection } from '#core/connector.ts';
import type { LineageMark, TableFingerprint } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import type { Finding } from '#core/finding.ts';
import type { Position } from '#core/position.ts';
import type { TableId } from '#core/schema.ts';
import {
  TABLE_NOT_LOADED,
  type FingerprintVerdict,
  type Heartbeat as Beat,
  type Source,
  type SourceFacts,
  type SourceStream,
} from '#core/source.ts';
import { DATABASE_NAME } from '../lib/postgres/database-name.ts';
import { clientConfig, databaseAt } from '../lib/postgres/connection.ts';
import { KeptClient } from '../lib/postgres/kept-client.ts';
import { readCatalogue, type Catalogue } from './catalogue.ts';
import { checkSource } from './check.ts';
import { configSchema, sourceOf, type PostgresSource, type SourceConfig } from './config.ts';
import { formOf, readEncoding } from './encoding.ts';
import { compareFingerprints } from './fingerprint.ts';
import { Heartbeat } from './heartbeat.ts';
import { inspect, sortTables, type InspectInput, type Sorted } from './inspect.ts';
import { addMark, dropMarks } from './lineage.ts';
import { compareLsn, lsnOfPosition } from './lsn.ts';
import { Births } from './partitions.ts';
import { OldWriters } from './old-writers.ts';
import {
  addingStatements,
  assertSomeTable,
  deprovision,
  provisionOwnTables,
  provisionPublication,
  publicationStatements,
  publishedTables,
} from './provision.ts';
import { CatalogueResolver, followedTable, type FollowedTable } from './relation-resolver.ts';
import { PostgresRows } from './rows.ts';
import { Selection } from './selection.ts';
import { assertUsable, inSnapshot, readServer, sessionOptions, streamOptions, withServer } from './session.ts';
import { createSlot, dropSlot, readSlot } from './slot.ts';
import { openPostgresStream } from './stream.ts';
import { takeSlot } from './take-slot.ts';

export const connector: SourceConnector<SourceConfig> = {
  kind: 'postgres',
  configSchema,
  databaseOf: databaseAt,
  create: ({ config, pipeline, tables, context }) => new PostgresConnector(sourceOf(config, pipeline), tables, context),
};

class PostgresConnector implements Source {
  readonly kind = 'postgres';
  readonly #source: PostgresSource;
  readonly #context: ConnectorContext;
  readonly #selection: Selection;
  readonly #births = new Births();
  readonly #heartbeatClient: KeptClient;
  readonly #resolverClient: KeptClient;
  readonly #heartbeat: Heartbeat;
  #followed: ReadonlyMap<TableId, FollowedTable> | null = null;
  readonly #stopped = new Map<TableId, string>();
  readonly #oldWriters = new OldWriters();

  constructor(source: PostgresSource, tables: readonly TableSelection[], context: ConnectorContext) {
    this.#source = source;
    this.#context = context;
    this.#selection = new Selection(tables);
    const prepare = async (client: pg.Client): Promise<void> => assertUsable(await readServer(client));
    this.#heartbeatClient = new KeptClient(source.connection, sessionOptions(source, 'heartbeat'), prepare);
    this.#resolverClient = new KeptClient(source.connection, sessionOptions(source, 'catalogue'), prepare);
    this.#heartbeat = new Heartbeat(this.#heartbeatClient, source.slot);
  }

  async check(signal: AbortSignal): Promise<readonly Finding[]> {
    return await checkSource(this.#source, this.#selection, signal);
  }

  async inspect(signal: AbortSignal): Promise<SourceFacts> {
    return await withServer(this.#source, 'inspect', signal, (client, { version }) => inspect(client, this.#inspectInput(version)));
  }

  async database(signal: AbortSignal): Promise<string> {
    return await withServer(this.#source, 'inspect', signal, async (client) => {
      const { rows } = await client.query<{ name: string }>(DATABASE_NAME);
      return present(rows[0], 'the name of the database').name;
    });
  }

  async provision(slot: 'keep' | 'create' | 'recreate', signal: AbortSignal): Promise<Position | null> {
    const { logger, runtime } = this.#context;
    return await withServer(this.#source, 'provision', signal, async (client, { version }) => {
      const first = slot !== 'keep';
      if (first) formOf(await readEncoding(client));
      // From here on tables may be carried that the last stream did not know.
      this.#followed = null;
      if (first) this.#stopped.clear();
      const { catalogue, sorted } = await this.#readTables(client, version);
      const isLoadedByHand = (table: TableId): boolean => this.#selection.isLoadedByHand(table);
      const tables = publishedTables(sorted.capturable, { first, catalogue, isLoadedByHand });
      if (first) assertSomeTable(tables);
      await provisionPublication(client, publicationStatements(this.#source.publication, catalogue, tables), logger);
      await provisionOwnTables(client, logger);
      if (!first) return null;
      if (slot === 'recreate') {
        await takeSlot({ client, slot: this.#source.slot, runtime }, signal);
        await dropSlot(client, this.#source.slot);
      }
      return await this.#makeSlot(client, version);
    });
  }

  async follow(tables: readonly TableId[], signal: AbortSignal): Promise<readonly TableId[]> {
    return await withServer(this.#source, 'provision', signal, async (client, { version }) => {
      const { catalogue, sorted } = await this.#readTables(client, version);
      const later = sorted.refused.filter(({ code }) => code === TABLE_NOT_LOADED).map(({ table }) => table);
      const possible = new Set([...later, ...sorted.capturable.map(({ table }) => table)]);
      const wanted = catalogue.tables.filter(({ table }) => tables.includes(table) && possible.has(table));
      await provisionPublication(client, addingStatements(this.#source.publication, catalogue, wanted), this.#context.logger);
      const carried = await this.#oldWriters.look(client, wanted);
      if (carried.length > 0) this.#followed = null;
      return carried;
    });
  }

  async deprovision(signal: AbortSignal): Promise<readonly string[]> {
    const { slot, publication } = this.#source;
    return await withServer(this.#source, 'remove', signal, async (client, { version }) => {
      const dropped: string[] = [];
      if ((await readSlot(client, version, slot)) !== null) {
        await takeSlot({ client, slot, runtime: this.#context.runtime }, signal);
        await dropSlot(client, slot);
        dropped.push(`replication slot ${slot}`);
      }
      return [...dropped, ...(await deprovision(client, { slot, publication }))];
    });
  }

  async open(signal: AbortSignal): Promise<SourceStream> {
    const { runtime } = this.#context;
    const { slot, publication, connection } = this.#source;
    const { version: serverVersion, encoding } = await withServer(this.#source, 'open', signal, async (client, { version }) => {
      const found = await readSlot(client, version, slot);
      if (found === null) throw new CausewayError('source_slot_lost', `the replication slot ${slot} does not exist`);
      if (found.facts.unusable !== null) {
        throw new CausewayError('source_slot_lost', `the replication slot ${slot} cannot be used any more: ${found.facts.unusable}`);
      }
      this.#followed ??= followedTables(await this.#readTables(client, version));
      const read = await readEncoding(client);
      await takeSlot({ client, slot, runtime }, signal);
      return { version, encoding: read };
    });
    const resolver = new CatalogueResolver({
      client: this.#resolverClient,
      publication,
      births: this.#births,
      serverVersion,
      followed: this.#followed ?? new Map(),
      onStopped: (table, reason) => this.#stopped.set(table, reason),
    });
    const config = await clientConfig(connection, streamOptions(this.#source), signal);
    return await openPostgresStream({ clientConfig: config, slot, publication, resolver, runtime, encoding }, signal);
  }

  rows(): PostgresRows {
    const { slot, publication, connection } = this.#source;
    const prepare = async (client: pg.Client): Promise<void> => {
      const server = await readServer(client);
      assertUsable(server);
      const found = await readSlot(client, server.version, slot);
      // Behind a name that leads to several servers it could be another one, whose reads tell nothing of what the stream shows.
      if (found?.facts.active !== true)
        throw new CausewayError('source_unavailable', `the replication slot ${slot} is not read at the server that rows are read from`);
    };
    const client = new KeptClient(connection, sessionOptions(this.#source, 'rows'), prepare);
    return new PostgresRows({ client, publication, births: this.#births });
  }

  comparePositions(a: Position, b: Position): number {
    return compareLsn(lsnOfPosition(a), lsnOfPosition(b));
  }

  compareFingerprints(stored: TableFingerprint, current: TableFingerprint, truncatedBy: string | null = null): FingerprintVerdict {
    return compareFingerprints(stored, current, truncatedBy);
  }

  async heartbeat(signal: AbortSignal): Promise<Beat> {
    return await this.#heartbeat.beat(signal);
  }

  async addMark(signal: AbortSignal): Promise<LineageMark | null> {
    return await withServer(this.#source, 'lineage', signal, (client) => addMark(client, this.#source));
  }

  async dropMarks(ids: readonly string[], signal: AbortSignal): Promise<void> {
    await withServer(this.#source, 'lineage', signal, (client) => dropMarks(client, { slot: this.#source.slot, ids }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#heartbeatClient[Symbol.asyncDispose]();
    await this.#resolverClient[Symbol.asyncDispose]();
  }

  #inspectInput(version: number): InspectInput {
    const { slot, publication } = this.#source;
    return {
      version,
      slot,
      publication,
      selection: this.#selection,
      births: this.#births,
      followed: this.#followed,
      stopped: this.#stopped,
    };
  }

  async #readTables(client: pg.Client, version: number): Promise<{ readonly catalogue: Catalogue; readonly sorted: Sorted }> {
    const input = this.#inspectInput(version);
    const catalogue = await inSnapshot(client, () => readCatalogue(client, input));
    return { catalogue, sorted: sortTables(catalogue, input) };
  }

  async #makeSlot(client: pg.Client, version: number): Promise<Position | null> {
    const { slot } = this.#source;
    if ((await readSlot(client, version, slot)) !== null) return null;
    const begins = await createSlot(client, version, slot);
    this.#context.logger.log('info', 'made the replication slot', { slot, begins });
    return begins;
  }
}

/** Tables that are not in the publication send nothing, so nothing of them is followed. */
function followedTables(read: { readonly sorted: Sorted }): ReadonlyMap<TableId, FollowedTable> {
  const published = read.sorted.capturable.filter(({ member }) => member !== null);
  return new Map(published.map((table) => [table.table, followedTable(table)]));
}
