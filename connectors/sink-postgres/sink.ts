import { assert, present } from '#core/assert.ts';
import type { ConnectorContext } from '#core/connector.ts';
import { CausewayError, codeOf } from '#core/errors.ts';
import type { Finding } from '#core/finding.ts';
import type { DescribedTable, SchemaChange, TableId, TableSchema } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';
import type { Floor, KeyRange, Sink, SinkLimits, SinkClaim, SinkPartition, SinkProgress, SinkReports, SinkRow } from '#core/sink.ts';
import type { RowKey } from '#core/key.ts';
import type { Row } from '#core/value.ts';

import { DATABASE_NAME } from '../lib/postgres/database-name.ts';
import { checkSink } from './check.ts';
import { claimed, claimProgress, ownerOf } from './claim.ts';
import { sinkError } from './errors.ts';
import { connectionOf, type SinkConfig } from './config.ts';
import { findDifferences } from './differences.ts';
import { DELETED_COLUMN, ownTables } from './names.ts';
import { PostgresPartition } from './partition.ts';
import { HELD_COLUMNS, ownerCondition, parseHeld, raiseStatement, storedSequence, type ProgressOwner } from './progress.ts';
import { addColumnStatements, provision, type ProvisionInput } from './provision.ts';
import { PAGE_ROWS, readPage } from './read.ts';
import { readBackOf } from './read-back.ts';
import { readKeys } from './read-keys.ts';
import { removeOwn } from './remove.ts';
import { PostgresReports } from './reports.ts';
import { commit, Sessions, type Session } from './session.ts';
import { checkComplete, type Shape } from './shape.ts';
import { Shapes } from './shapes.ts';
import { sweepPage } from './sweep.ts';

const BATCH_BYTES_MAX = 16 * 1024 * 1024;

export class PostgresSink implements Sink {
  readonly kind = 'postgres';
  readonly scansInOrder = true;
  readonly limits: SinkLimits;
  readonly reports: SinkReports;
  readonly #config: SinkConfig;
  readonly #owner: ProgressOwner;
  readonly #input: ProvisionInput;
  readonly #sessions: Sessions;
  readonly #shapes: Shapes;
  readonly #partitions: number;
  /** Under which the progress was claimed; null before. */
  #claimant: string | null = null;

  constructor(options: {
    readonly config: SinkConfig;
    readonly pipeline: string;
    readonly sink: string;
    readonly partitions: number;
    readonly target: (table: TableId) => TableId;
    readonly context: ConnectorContext;
  }) {
    const { config, pipeline, sink, target } = options;
    const own = ownTables(config.schema);
    this.limits = { batchRowsMax: config.batchRows, batchBytesMax: BATCH_BYTES_MAX };
    this.#config = config;
    this.#partitions = options.partitions;
    this.#owner = { own, pipeline, sink };
    this.#input = { own, pipeline, sink, register: config.register, target };
    this.#sessions = new Sessions({
      connection: connectionOf(config),
      applicationName: `causeway ${pipeline}/${sink}`,
      max: config.connections,
      runtime: options.context.runtime,
    });
    this.#shapes = new Shapes({ register: config.register, own, target });
    this.reports = new PostgresReports({ sessions: this.#sessions, owner: this.#owner });
  }

  async database(signal: AbortSignal): Promise<string> {
    const [row] = await this.#sessions.use(signal, (session) => session.texts(DATABASE_NAME));
    return present(row?.[0], 'the name of the database');
  }

  async check(tables: readonly DescribedTable[], signal: AbortSignal): Promise<readonly Finding[]> {
    return await this.#sessions.use(signal, (session) =>
      checkSink(session, tables, { ...this.#input, connections: this.#config.connections, mode: this.#config.provision }),
    );
  }

  async provision(tables: readonly DescribedTable[], signal: AbortSignal): Promise<void> {
    await this.#sessions.use(signal, (session) => provision(session, tables, { ...this.#input, mode: this.#config.provision }));
    this.#shapes.forget();
  }

  async evolve(after: DescribedTable, change: SchemaChange & { readonly tag: 'additive' }, signal: AbortSignal): Promise<void> {
    const target = this.#input.target(after.table);
    await this.#sessions.use(signal, async (session) => {
      const statements = await addColumnStatements(session, { after, added: change.added, target, register: this.#config.register });
      if (statements.length === 0) return;
      const list = statements.map((statement) => `${statement};`).join('\n');
      if (this.#config.provision === 'check') {
        throw new CausewayError('schema_blocked', `the sink lacks what these statements make (or set \`provision: create\`):\n${list}`);
      }
      try {
        await session.transaction([], async () => {
          for (const statement of statements) await session.script(statement);
          return commit(undefined);
        });
      } catch (error) {
        const refused = codeOf(sinkError(error));
        if (refused !== 'sink_misconfigured') throw error;
        throw new CausewayError('schema_blocked', `the sink refuses ${list}\n${sinkError(error).message}`);
      }
    });
    this.#shapes.forget();
  }

  async differences(schema: DescribedTable, signal: AbortSignal): Promise<readonly string[]> {
    const { own, register, target } = this.#input;
    return await this.#sessions.use(signal, async (session) =>
      (await findDifferences(session, { schema, target: target(schema.table), register, own })).map(({ text }) => text),
    );
  }

  async holdsRows(schema: TableSchema, signal: AbortSignal): Promise<boolean> {
    return await this.#withShape(schema, signal, async (session, shape) => {
      const live = shape.register === 'inline' ? `WHERE NOT ${DELETED_COLUMN}` : '';
      return (await session.texts(`SELECT 1 FROM ${shape.table} ${live} LIMIT 1`)).length > 0;
    });
  }

  async claim(by: SinkClaim, signal: AbortSignal): Promise<void> {
    await this.#sessions.use(signal, (session) => claimProgress(session, { ...this.#owner, mode: this.#config.provision }, by));
    this.#claimant = by.owner;
  }

  async assign(partition: number, signal: AbortSignal): Promise<SinkPartition> {
    assert(partition >= 0 && partition < this.#partitions, 'a partition of the topic');
    const claimant = present(this.#claimant, 'a claim before a partition is taken');
    const { token, progress, writes } = await this.#sessions.use(signal, async (session) => {
      const [row] = await session.texts(raiseStatement(this.#owner, claimant, partition));
      if (row !== undefined) return parseHeld(row);
      const owner = await ownerOf(session, this.#owner);
      if (owner !== null) throw claimed(this.#owner, owner);
      throw new CausewayError(
        'sink_unknown_progress',
        `the sink ${this.#owner.sink} has lost the claim on its progress; the next start looks what is left`,
      );
    });
    return new PostgresPartition({
      partition,
      token,
      start: progress,
      writes,
      owner: this.#owner,
      claimant,
      sessions: this.#sessions,
      shapes: this.#shapes,
    });
  }

  async progress(signal: AbortSignal): Promise<ReadonlyMap<number, SinkProgress>> {
    const text = `SELECT ${HELD_COLUMNS} FROM ${this.#owner.own.progress} WHERE ${ownerCondition(this.#owner)} ORDER BY partition`;
    const rows = await this.#sessions.use(signal, (session) => session.texts(text));
    const found = new Map<number, SinkProgress>();
    for (const { partition, progress } of rows.map(parseHeld)) if (progress !== null) found.set(partition, progress);
    return found;
  }

  async sweep(schema: TableSchema, floor: Floor, signal: AbortSignal): Promise<{ readonly rows: number }> {
    const page = (session: Session, shape: Shape) =>
      sweepPage(session, { shape, floor: floor.sequence, owner: this.#owner, partitions: this.#partitions });
    let rows = 0;
    for (let done = false; !done;) {
      const swept = await this.#withShape(schema, signal, page);
      rows += swept.rows;
      done = swept.done;
    }
    return { rows };
  }

  async sweeps(signal: AbortSignal): Promise<ReadonlyMap<TableId, Sequence>> {
    const text = `SELECT source_table, pg_catalog.encode(swept, 'hex') FROM ${this.#owner.own.tables} WHERE ${ownerCondition(this.#owner)} AND swept IS NOT NULL`;
    const rows = await this.#sessions.use(signal, (session) => session.texts(text));
    return new Map(rows.map(([table, swept]) => [table as TableId, storedSequence(swept ?? '')]));
  }

  async *scan(schema: TableSchema, range: KeyRange, signal: AbortSignal): AsyncIterable<readonly SinkRow[]> {
    let after: readonly string[] | null = null;
    do {
      const from: readonly string[] | null = after;
      const page: Awaited<ReturnType<typeof readPage>> = await this.#withShape(schema, signal, (session, shape) => {
        checkComplete(shape);
        return readPage(session, shape, range, from);
      });
      if (page.rows.length > 0) yield page.rows;
      after = page.after;
    } while (after !== null);
  }

  async read(schema: TableSchema, keys: readonly RowKey[], signal: AbortSignal): Promise<readonly SinkRow[]> {
    const asked = [...new Set(keys)];
    const found: SinkRow[] = [];
    for (let from = 0; from < asked.length; from += PAGE_ROWS) {
      const page = await this.#withShape(schema, signal, (session, shape) => {
        checkComplete(shape);
        return readKeys(session, shape, asked.slice(from, from + PAGE_ROWS));
      });
      found.push(...page);
    }
    return found;
  }

  readBack(schema: TableSchema): (row: Row) => Row | null {
    return readBackOf(schema);
  }

  async remove(owners: readonly string[], signal: AbortSignal): Promise<readonly string[]> {
    const removed = await this.#sessions.use(signal, (session) => removeOwn(session, this.#owner, owners));
    this.#shapes.forget();
    return removed;
  }

  /** The shape may lack columns: what looks at keys and deletes alone, as a sweep does, needs no others. */
  async #withShape<T>(schema: TableSchema, signal: AbortSignal, work: (session: Session, shape: Shape) => Promise<T>): Promise<T> {
    return await this.#sessions.use(signal, async (session) => {
      const { shape } = await this.#shapes.writer(session, schema);
      return await work(session, shape);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sessions[Symbol.asyncDispose]();
  }
}
