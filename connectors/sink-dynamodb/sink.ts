import { assert, present } from '#core/assert.ts';
import type { ConnectorContext } from '#core/connector.ts';
import { CausewayError, type ErrorCode } from '#core/errors.ts';
import type { Finding } from '#core/finding.ts';
import type { DescribedTable, SchemaChange, TableId, TableSchema } from '#core/schema.ts';
import type { RowKey } from '#core/key.ts';
import type { Sequence } from '#core/sequence.ts';
import type { Row } from '#core/value.ts';
import {
  hasPassed,
  type Floor,
  type KeyRange,
  type RowChange,
  type RowOutcome,
  type Sink,
  type SinkClaim,
  type SinkLimits,
  type SinkPartition,
  type SinkProgress,
  type SinkRow,
} from '#core/sink.ts';
import { checkSink } from './check.ts';
import { Client } from './client.ts';
import type { SinkConfig } from './config.ts';
import type { Item } from '../lib/dynamodb/send.ts';
import { OwnTable } from './own-table.ts';
import { DynamoPartition } from './partition.ts';
import { items, ReadBudget, sinkRow } from './read.ts';
import { readBackOf } from './read-back.ts';
import { readKeys } from './read-keys.ts';
import { DynamoReports } from './reports.ts';
import { isTombstone, rowKeyIn, sequenceOf, shapeOf, tombstoneItem, type Shape } from './shape.ts';
import { ALONE_ROWS_MAX, TableWriter } from './table-writer.ts';
import { describeTable, differencesOf, provisionTable, wantedOwnTable, wantedTable } from './tables.ts';
import { allEnded } from '../lib/sink/throttled.ts';
import { VerifiedTables } from './verified-tables.ts';
import { isOfService } from './write.ts';

const BATCH_BYTES_MAX = 16 * 1024 * 1024;

/** Rows as items, each a register of its greatest sequence: DESIGN's section 7, DynamoDB. */
export class DynamoSink implements Sink {
  readonly kind = 'dynamodb';
  readonly scansInOrder = false;
  readonly limits: SinkLimits;
  readonly reports: DynamoReports;
  readonly #config: SinkConfig;
  readonly #names: { readonly pipeline: string; readonly sink: string; readonly target: (table: TableId) => TableId };
  readonly #partitions: number;
  readonly #client: Client;
  readonly #own: OwnTable;
  /** Of reads by key, all together. */
  readonly #readBudget: ReadBudget;
  /** By schema, which is one object for each version. */
  readonly #shapes = new WeakMap<TableSchema, Shape>();
  /** Under which the progress was claimed; null before. */
  #claimant: string | null = null;
  readonly #verified: VerifiedTables;
  readonly #writers = new Map<string, TableWriter>();
  readonly #onRetry: (code: ErrorCode) => void;
  readonly #aloneRowsMax: number;

  constructor(options: {
    readonly config: SinkConfig;
    readonly pipeline: string;
    readonly sink: string;
    readonly partitions: number;
    readonly target: (table: TableId) => TableId;
    readonly onRetry: (code: ErrorCode) => void;
    /** None, for tests: also a single row then takes the way of a batch. */
    readonly aloneRowsMax?: number;
    readonly context: ConnectorContext;
  }) {
    const { config, pipeline, sink, target, partitions, context } = options;
    this.#onRetry = options.onRetry;
    this.#aloneRowsMax = options.aloneRowsMax ?? ALONE_ROWS_MAX;
    this.limits = { batchRowsMax: config.batchRows, batchBytesMax: BATCH_BYTES_MAX };
    this.#config = config;
    this.#names = { pipeline, sink, target };
    this.#partitions = partitions;
    this.#client = new Client({ config, runtime: context.runtime });
    this.#readBudget = new ReadBudget({ client: this.#client, unitsPerSecond: config.scanReadUnits });
    const kept = { client: this.#client, name: config.progressTable, place: { pipeline, sink } };
    this.#own = new OwnTable(kept);
    this.reports = new DynamoReports({ ...kept, onRetry: this.#onRetry });
    this.#verified = new VerifiedTables({ client: this.#client, config, own: this.#own, onRetry: this.#onRetry });
  }

  check(tables: readonly DescribedTable[], signal: AbortSignal): Promise<readonly Finding[]> {
    const shapes = tables.map((table) => this.#shapeOf(table));
    return checkSink({ client: this.#client, config: this.#config }, shapes, signal);
  }

  async provision(tables: readonly DescribedTable[], signal: AbortSignal): Promise<void> {
    const parts = { client: this.#client, config: this.#config };
    const shapes = tables.map((table) => this.#shapeOf(table));
    const lacking: string[] = [];
    for (const wanted of [wantedOwnTable(this.#config), ...shapes.map(wantedTable)]) {
      try {
        await provisionTable(parts, wanted, signal);
      } catch (error) {
        // All that is missing is told at once.
        if (!(error instanceof CausewayError) || error.code !== 'sink_misconfigured') throw error;
        lacking.push(error.message);
      }
    }
    if (lacking.length > 0) throw new CausewayError('sink_misconfigured', lacking.join('\n'));
    for (const shape of shapes) await this.#verified.take(shape, signal);
  }

  /** An attribute needs no table to be altered. What a default gives to the rows that are there, only a load brings. */
  evolve(after: DescribedTable, change: SchemaChange & { readonly tag: 'additive' }, signal: AbortSignal): Promise<void> {
    return Promise.try(() => {
      signal.throwIfAborted();
      this.#shapeOf(after);
      const defaulted = change.added.find(({ constantDefault }) => constantDefault !== null);
      if (defaulted === undefined) return;
      throw new CausewayError(
        'schema_blocked',
        `the column ${defaulted.name} of ${after.table} has a default, which items that are there do not get: ` +
          'take the default away at the source, or start the sink anew with other `tables` (docs/resync.md)',
      );
    });
  }

  async differences(table: DescribedTable, signal: AbortSignal): Promise<readonly string[]> {
    const shape = this.#shapeOf(table);
    return differencesOf(wantedTable(shape), await describeTable(this.#client, shape.tableName, signal));
  }

  async holdsRows(schema: TableSchema, signal: AbortSignal): Promise<boolean> {
    for await (const page of this.#items(this.#shapeOf(schema), signal)) if (page.some((item) => !isTombstone(item))) return true;
    return false;
  }

  async claim(by: SinkClaim, signal: AbortSignal): Promise<void> {
    await provisionTable({ client: this.#client, config: this.#config }, wantedOwnTable(this.#config), signal);
    await this.#own.claim(by, signal);
    this.#claimant = by.owner;
  }

  async assign(partition: number, signal: AbortSignal): Promise<SinkPartition> {
    assert(partition >= 0 && partition < this.#partitions, 'a partition of the topic');
    const claimant = present(this.#claimant, 'a claim before a partition is taken');
    const held = await this.#own.raise(partition, claimant, signal);
    return new DynamoPartition({
      held,
      own: this.#own,
      verify: (verifying) => this.#verified.verifyAll(verifying),
      write: (rows, writing) => this.#write(rows, writing),
    });
  }

  async progress(signal: AbortSignal): Promise<ReadonlyMap<number, SinkProgress>> {
    const found = new Map<number, SinkProgress>();
    for (const { partition, progress } of await this.#own.allHeld(signal)) if (progress !== null) found.set(partition, progress);
    return found;
  }

  async sweep(schema: TableSchema, floor: Floor, signal: AbortSignal): Promise<{ readonly rows: number }> {
    const shape = this.#shapeOf(schema);
    let rows = 0;
    if (await this.#isSwept(floor, signal)) return { rows };
    for await (const page of this.#items(shape, signal)) {
      await this.#checkPassed(floor, signal);
      const writer = this.#writerOf(shape);
      const buried = await allEnded(
        page.map(async (item) => {
          const sequence = sequenceOf(item);
          const key = rowKeyIn(shape, item);
          // What has no sequence is not ours.
          if (sequence === null || key === null || sequence >= floor.sequence) return false;
          const tombstone = tombstoneItem(shape, { key, sequence: floor.sequence });
          return (await writer.bury(shape, tombstone, signal)) && !isTombstone(item);
        }),
      );
      rows += buried.filter(Boolean).length;
    }
    await this.#checkPassed(floor, signal);
    await this.#own.swept(floor.table, floor.sequence, signal);
    return { rows };
  }

  sweeps(signal: AbortSignal): Promise<ReadonlyMap<TableId, Sequence>> {
    return this.#own.sweeps(signal);
  }

  /**
   * In no order: keys are hashed. `scanSegments` parts of the table are read side by side, a page ahead each, strongly consistent: a read
   * unit for each 4 KB of the table, its tombstones among it, and no more of them a second than `scanReadUnits`.
   */
  async *scan(schema: TableSchema, range: KeyRange, signal: AbortSignal): AsyncIterable<readonly SinkRow[]> {
    assert(range.from === null && range.to === null, 'a store of hashed keys is scanned whole');
    const shape = this.#shapeOf(schema);
    for await (const page of this.#items(shape, signal)) yield page.map((item) => sinkRow(shape, item));
  }

  async read(schema: TableSchema, keys: readonly RowKey[], signal: AbortSignal): Promise<readonly SinkRow[]> {
    const reading = { client: this.#client, budget: this.#readBudget, onRetry: this.#onRetry };
    return await readKeys(reading, this.#shapeOf(schema), keys, signal);
  }

  readBack(schema: TableSchema): (row: Row) => Row | null {
    return readBackOf(this.#shapeOf(schema));
  }

  async remove(owners: readonly string[], signal: AbortSignal): Promise<readonly string[]> {
    // A sink that never started has made nothing.
    if ((await describeTable(this.#client, this.#config.progressTable, signal)) === null) return [];
    return await this.#own.remove(owners, this.reports, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]();
  }

  #items(shape: Shape, signal: AbortSignal): AsyncIterable<readonly Item[]> {
    return items({ client: this.#client, config: this.#config, onRetry: this.#onRetry }, shape, signal);
  }

  async #isSwept(floor: Floor, signal: AbortSignal): Promise<boolean> {
    return ((await this.#own.sweeps(signal)).get(floor.table) ?? '') >= floor.sequence;
  }

  async #checkPassed(floor: Floor, signal: AbortSignal): Promise<void> {
    const held = new Map((await this.#own.allHeld(signal)).map((one) => [one.partition, one]));
    for (let partition = 0; partition < this.#partitions; partition += 1) {
      const progress = held.get(partition)?.progress ?? null;
      if (progress === null || !hasPassed(progress, floor))
        throw new CausewayError('sink_went_back', `partition ${partition} has not passed the floor of ${floor.table}`);
    }
  }

  #shapeOf(schema: TableSchema): Shape {
    let shape = this.#shapes.get(schema);
    if (shape === undefined) {
      const { pipeline, sink, target } = this.#names;
      shape = shapeOf(schema, { config: this.#config, pipeline, sink, target: target(schema.table) });
      this.#shapes.set(schema, shape);
    }
    return shape;
  }

  /** What the service refuses though it may be the table's fault is tried once more, on the table as it is now. */
  async #write(rows: readonly RowChange[], signal: AbortSignal): Promise<readonly RowOutcome[]> {
    const outcomes = await this.#writeOnce(rows, signal);
    const refused = [...outcomes.keys()].filter((at) => isOfService(outcomes[at]));
    if (refused.length === 0) return outcomes;
    const again = refused.map((at) => present(rows[at], 'a row'));
    for (const { schema } of again) this.#verified.forget(this.#shapeOf(schema));
    const settled = await this.#writeOnce(again, signal);
    return outcomes.map((outcome, at) => settled[refused.indexOf(at)] ?? outcome);
  }

  /** Table by table side by side: one that is throttled holds up no other. */
  async #writeOnce(rows: readonly RowChange[], signal: AbortSignal): Promise<readonly RowOutcome[]> {
    const shapes = new Map<TableSchema, Shape>();
    for (const schema of new Set(rows.map((change) => change.schema))) {
      const shape = this.#shapeOf(schema);
      shapes.set(schema, { ...shape, indexKeys: await this.#verified.verify(shape, signal) });
    }
    const byTable = Map.groupBy(
      rows.map((change, at) => ({ at, change, shape: present(shapes.get(change.schema), 'the shape of a row') })),
      ({ shape }) => shape.tableName,
    );
    const outcomes = new Array<RowOutcome>(rows.length);
    await allEnded(
      [...byTable.values()].map(async (some) => {
        const told = await this.#writerOf(present(some[0], 'a row').shape).write(some, signal);
        for (const [place, { at }] of some.entries()) outcomes[at] = present(told[place], 'an outcome');
      }),
    );
    return outcomes;
  }

  #writerOf({ tableName }: Shape): TableWriter {
    let writer = this.#writers.get(tableName);
    if (writer === undefined) {
      writer = new TableWriter({
        client: this.#client,
        config: this.#config,
        tableName,
        aloneRowsMax: this.#aloneRowsMax,
        onRetry: this.#onRetry,
      });
      this.#writers.set(tableName, writer);
    }
    return writer;
  }
}
