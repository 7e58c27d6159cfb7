import { assert, present } from '#core/assert.ts';
import type { ConnectorContext } from '#core/connector.ts';
import { CausewayError, type ErrorCode } from '#core/errors.ts';
import type { Finding } from '#core/finding.ts';
import type { DescribedTable, SchemaChange, TableId, TableSchema } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';
import type { Floor, KeyRange, Sink, SinkClaim, SinkLimits, SinkPartition, SinkProgress, SinkReports, SinkRow } from '#core/sink.ts';
import type { Row } from '#core/value.ts';
import type { RowKey } from '#core/key.ts';
import { readDialect } from './catalogue.ts';
import { checkSink } from './check.ts';
import { checkInstance, readRetention, readStreams, retentionFinding, streamsFinding } from './check-instance.ts';
import { Client } from './client.ts';
import type { SinkConfig } from './config.ts';
import type { Dialect } from './dialect.ts';
import { blamingTables } from './errors.ts';
import { CLAIMS_TABLE, quoted, REPORTS_TABLE, versionNameOf, type Place } from './names.ts';
import { allProgress, allSweeps, claimPlace, closePlace, forgetPlace, raiseFence, takeTables } from './own-tables.ts';
import { SpannerPartition } from './partition.ts';
import { catalogueOf, changeSchema, makeTables, namesOf, statements } from './provision.ts';
import { scanPages } from './read.ts';
import { readKeys } from './read-keys.ts';
import { SpannerReports } from './reports.ts';
import { Sessions } from './sessions.ts';
import { columnNames, readBackOf, shapeOf, type Shape } from './shape.ts';
import { sweepTable } from './sweep.ts';
import { addStatements, differencesOf, wantedOwnTables, wantedTables, type WantedTable } from './tables.ts';
import { snapshot, type Store } from './transaction.ts';

const BATCH_BYTES_MAX = 16 * 1024 * 1024;

/** Rows with their register in a sidecar table, in read-write transactions: DESIGN's section 7, Spanner. */
export class SpannerSink implements Sink {
  readonly kind = 'spanner';
  readonly scansInOrder = true;
  readonly limits: SinkLimits;
  readonly reports: SinkReports;
  readonly #config: SinkConfig;
  readonly #place: Place;
  readonly #target: (table: TableId) => TableId;
  readonly #partitions: number;
  readonly #store: Store;
  /** By schema, which is one object for each version. */
  readonly #shapes = new WeakMap<TableSchema, Shape>();
  /** Which source table each table belongs to, by its name in lower case. */
  readonly #sources = new Map<string, TableId>();
  #dialect: Dialect | null = null;
  /** Under which the progress was claimed; null before. */
  #claimant: string | null = null;

  constructor(options: {
    readonly config: SinkConfig;
    readonly pipeline: string;
    readonly sink: string;
    readonly partitions: number;
    readonly target: (table: TableId) => TableId;
    readonly onRetry: (code: ErrorCode) => void;
    readonly context: ConnectorContext;
  }) {
    const { config, pipeline, sink, target, partitions, onRetry, context } = options;
    const client = new Client({ config, runtime: context.runtime });
    this.limits = { batchRowsMax: config.batchRows, batchBytesMax: BATCH_BYTES_MAX };
    this.#config = config;
    this.#place = { pipeline, sink };
    this.#target = target;
    this.#partitions = partitions;
    this.#store = { client, sessions: new Sessions({ client, max: config.concurrency }), onRetry };
    this.reports = new SpannerReports({ store: this.#store, place: this.#place });
  }

  async check(tables: readonly DescribedTable[], signal: AbortSignal): Promise<readonly Finding[]> {
    const { dialect, shapes } = await this.#shapesOf(tables, signal);
    const catalogue = await catalogueOf(this.#store, dialect, signal);
    const { client } = this.#store;
    const streams = await snapshot(this.#store, 'the information schema', signal, (reader) => readStreams(reader, dialect));
    const names = [...wantedOwnTables(), ...shapes.flatMap(wantedTables)].map(({ name }) => name);
    return [
      ...(await checkInstance(client, this.#config, signal)),
      ...(await checkSink({ client, config: this.#config, dialect }, { shapes, catalogue }, signal)),
      retentionFinding(await readRetention(client, signal), { database: this.#config.database, dialect }),
      streamsFinding(streams, names),
    ];
  }

  async provision(tables: readonly DescribedTable[], signal: AbortSignal): Promise<void> {
    const { dialect, shapes } = await this.#shapesOf(tables, signal);
    const wanted = [...wantedOwnTables(), ...shapes.flatMap(wantedTables)];
    await makeTables(this.#store, wanted, { provision: this.#config.provision, dialect }, signal);
    await this.#own(() => takeTables(this.#store, this.#place, shapes, signal), signal);
  }

  async evolve(after: DescribedTable, change: SchemaChange & { readonly tag: 'additive' }, signal: AbortSignal): Promise<void> {
    const { dialect, shapes } = await this.#shapesOf([after], signal);
    const shape = present(shapes[0], 'a shape');
    const lacking = async (): Promise<readonly string[]> => {
      const missing = addStatements(shape, change.added, await catalogueOf(this.#store, dialect, signal), { ...this.#config, dialect });
      if (missing.length === 0 || this.#config.provision === 'create') return missing;
      throw new CausewayError(
        'schema_blocked',
        `the sink lacks what these statements make (or set \`provision: create\`):\n${statements(missing)}`,
      );
    };
    try {
      await changeSchema(this.#store.client, lacking, signal);
    } catch (error) {
      if (!(error instanceof CausewayError) || error.code !== 'sink_misconfigured') throw error;
      throw new CausewayError('schema_blocked', error.message);
    }
  }

  async differences(table: DescribedTable, signal: AbortSignal): Promise<readonly string[]> {
    const { shapes } = await this.#shapesOf([table], signal);
    return await this.#differences(wantedTables(present(shapes[0], 'a shape')), signal);
  }

  async holdsRows(schema: TableSchema, signal: AbortSignal): Promise<boolean> {
    const shape = await this.#shapeOf(schema, signal);
    const keys = { tag: 'range', from: null, to: null } as const;
    const read = { table: shape.table, columns: columnNames(shape.key), keys, rowsMax: 1 };
    return (await snapshot(this.#store, `the table ${shape.table}`, signal, (reader) => reader.read(read))).rows.length > 0;
  }

  async claim(by: SinkClaim, signal: AbortSignal): Promise<void> {
    const dialect = await this.#dialectOf(signal);
    await makeTables(this.#store, wantedOwnTables(), { provision: this.#config.provision, dialect }, signal);
    await this.#own(() => claimPlace(this.#store, this.#place, by, signal), signal);
    this.#claimant = by.owner;
  }

  async assign(partition: number, signal: AbortSignal): Promise<SinkPartition> {
    assert(partition >= 0 && partition < this.#partitions, 'a partition of the topic');
    const owner = present(this.#claimant, 'a claim before a partition is taken');
    const dialect = await this.#dialectOf(signal);
    return new SpannerPartition({
      store: this.#store,
      place: this.#place,
      held: await this.#own(() => raiseFence(this.#store, this.#place, { partition, owner }, signal), signal),
      shapeFor: ({ schema }) => this.#shape(schema, dialect),
      differences: (shape, refusedSignal) => this.#differences(wantedTables(shape), refusedSignal),
      ownDifferences: (refusedSignal) => this.#differences(wantedOwnTables(), refusedSignal),
    });
  }

  progress(signal: AbortSignal): Promise<ReadonlyMap<number, SinkProgress>> {
    return allProgress(this.#store, this.#place, signal);
  }

  async sweep(schema: TableSchema, floor: Floor, signal: AbortSignal): Promise<{ readonly rows: number }> {
    const shape = await this.#shapeOf(schema, signal);
    const sweep = { store: this.#store, place: this.#place, shape, floor, partitions: this.#partitions };
    const wanted = [...wantedTables(shape), ...wantedOwnTables()];
    return await blamingTables(
      () => sweepTable(sweep, signal),
      () => this.#differences(wanted, signal),
    );
  }

  sweeps(signal: AbortSignal): Promise<ReadonlyMap<TableId, Sequence>> {
    return allSweeps(this.#store, this.#place, signal);
  }

  async *scan(schema: TableSchema, range: KeyRange, signal: AbortSignal): AsyncIterable<readonly SinkRow[]> {
    yield* scanPages(this.#store, await this.#shapeOf(schema, signal), range, signal);
  }

  async read(schema: TableSchema, keys: readonly RowKey[], signal: AbortSignal): Promise<readonly SinkRow[]> {
    return await readKeys(this.#store, await this.#shapeOf(schema, signal), keys, signal);
  }

  readBack(schema: TableSchema): (row: Row) => Row | null {
    let back: ((row: Row) => Row | null) | null = null;
    return (row) => {
      back ??= readBackOf(this.#shape(schema, present(this.#dialect, 'the dialect of the database, which another call has asked for')));
      return back(row);
    };
  }

  async remove(owners: readonly string[], signal: AbortSignal): Promise<readonly string[]> {
    const dialect = await this.#dialectOf(signal);
    const names = await namesOf(this.#store, dialect, signal);
    // A sink that never started has made nothing.
    if (!names.has(CLAIMS_TABLE)) return [];
    const { partitions, tables } = await this.#own(() => closePlace(this.#store, this.#place, owners, signal), signal);
    const versions = tables.map(({ target }) => versionNameOf(target));
    const left = async (): Promise<readonly string[]> => {
      const now = await namesOf(this.#store, dialect, signal);
      return versions.flatMap((name) => {
        const found = now.get(name);
        return found === undefined ? [] : [`DROP TABLE ${quoted(found, dialect)}`];
      });
    };
    await changeSchema(this.#store.client, left, signal);
    // One that an earlier release has made has no table of reports.
    const hasReports = names.has(REPORTS_TABLE);
    if (hasReports) await this.#own(() => this.reports.keepOnly([], signal), signal);
    await this.#own(() => forgetPlace(this.#store, this.#place, tables, signal), signal);
    const removed = versions.map((name) => `version table ${name}`);
    return partitions === 0 ? removed : [...removed, `progress of ${partitions} partitions`];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#store.sessions[Symbol.asyncDispose]();
    await this.#store.client[Symbol.asyncDispose]();
  }

  async #differences(tables: readonly WantedTable[], signal: AbortSignal): Promise<readonly string[]> {
    const dialect = await this.#dialectOf(signal);
    const catalogue = await catalogueOf(this.#store, dialect, signal);
    return tables.flatMap((wanted) => differencesOf(wanted, catalogue, dialect));
  }

  /** For what is written to the sink's own tables alone. */
  async #own<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    return await blamingTables(work, () => this.#differences(wantedOwnTables(), signal));
  }

  async #dialectOf(signal: AbortSignal): Promise<Dialect> {
    this.#dialect ??= await snapshot(this.#store, `the database ${this.#store.client.database}`, signal, readDialect);
    return this.#dialect;
  }

  async #shapesOf(
    tables: readonly DescribedTable[],
    signal: AbortSignal,
  ): Promise<{ readonly dialect: Dialect; readonly shapes: readonly Shape[] }> {
    const dialect = await this.#dialectOf(signal);
    return { dialect, shapes: tables.map((table) => this.#shape(table, dialect)) };
  }

  async #shapeOf(schema: TableSchema, signal: AbortSignal): Promise<Shape> {
    return this.#shape(schema, await this.#dialectOf(signal));
  }

  #shape(schema: TableSchema, dialect: Dialect): Shape {
    let shape = this.#shapes.get(schema);
    if (shape !== undefined) return shape;
    shape = shapeOf(schema, { ...this.#place, config: this.#config, dialect, target: this.#target(schema.table) });
    const name = shape.table.toLowerCase();
    const other = this.#sources.get(name) ?? schema.table;
    if (other !== schema.table) {
      throw new CausewayError(
        'sink_misconfigured',
        `${schema.table} and ${other} would both be the table ${shape.table}: give one of them another \`target\`, or set \`tables\` of the sink ${this.#place.sink}`,
      );
    }
    this.#sources.set(name, schema.table);
    this.#shapes.set(schema, shape);
    return shape;
  }
}
