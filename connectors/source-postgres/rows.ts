import type pg from 'pg';
import { assert, present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import { rowKeyOf } from '#core/key.ts';
import { epochMicrosOf, type EpochMicros } from '#core/position.ts';
import type { RowRead, RowReader, RowSnapshot, RowsRead, RowsWanted } from '#core/row-reader.ts';
import { tableIdOf, tableIdParts, type TableId } from '#core/schema.ts';
import { MESSAGE_PREFIX } from '#core/source.ts';
import type { KeptClient } from '../lib/postgres/kept-client.ts';
import { quoteIdentifier, quoteTable } from '../lib/postgres/quote.ts';
import { describeRelations, primaryKeyOf, schemaOf, type CatalogueTable } from './catalogue.ts';
import { readRelations } from './catalogue-queries.ts';
import { CopyOut } from './copy-out.ts';
import { readCopyLine } from './copy-text.ts';
import { formOf, readEncoding, UTF8, type Encoding } from './encoding.ts';
import { keyCondition, setKeys, type KeyColumn } from './key-range.ts';
import type { Births } from './partitions.ts';
import type { TextForm } from './pgoutput/text.ts';
import { refusalOf } from './refusals.ts';
import { PostgresSnapshot } from './row-snapshot.ts';
import { canonicalise, conversionsOf, type RowForm } from './row-values.ts';

/** How a table is read, as long as its columns are the same. */
type Plan = RowForm & {
  readonly signature: string;
  readonly key: readonly KeyColumn[];
  readonly columns: string;
  readonly keyColumns: string;
  /** With ONLY unless the table is partitioned: the rows of a table that inherits are not this one's. */
  readonly from: string;
  /** The row filter of the publication, as the server prints it; null where there is none. What it leaves out is not the stream's either. */
  readonly filter: string | null;
};

export type PostgresRowsInput = {
  readonly client: KeptClient;
  readonly publication: string;
  readonly births: Births;
};

/** Of a connection; the server's version decides what the catalogue is asked for. */
type Session = { readonly client: pg.Client; readonly version: number; readonly encoding: Encoding; readonly text: TextForm };

/**
 * Each read is one transaction: it takes the table's lock first, then its snapshot. A table that is rewritten by ALTER looks empty, or
 * is another one, to a snapshot from before ("PostgreSQL documentation, 13.6 Caveats"); behind the lock none can be.
 */
export class PostgresRows implements RowReader {
  readonly #input: PostgresRowsInput;
  readonly #plans = new Map<TableId, Plan>();
  #session: Session | null = null;

  constructor(input: PostgresRowsInput) {
    this.#input = input;
  }

  async mark(content: string, signal: AbortSignal): Promise<void> {
    await this.#use(signal, async ({ client }) => {
      await client.query('SELECT pg_catalog.pg_logical_emit_message(true, $1, $2)', [MESSAGE_PREFIX, content]);
    });
  }

  async look(signal: AbortSignal): Promise<RowSnapshot> {
    return await this.#use(signal, async ({ client }) => {
      const { rows } = await client.query<SnapshotRow>(`SELECT ${SNAPSHOT_COLUMNS}`);
      return snapshotOf(present(rows[0], 'a snapshot'));
    });
  }

  async read(wanted: RowsWanted, signal: AbortSignal): Promise<RowsRead | null> {
    return await this.#use(signal, async (session) => {
      const { client } = session;
      const begun = await begin(client, { table: wanted.table, publication: this.#input.publication });
      const read = wanted.accepts(begun.snapshot) ? await this.#rows(session, wanted, begun) : null;
      // What was ended in the middle goes on at the server, and ends with its connection.
      if (read === null || read.isComplete) await client.query('COMMIT');
      else destroy(client);
      return read === null ? null : { ...read.rows, snapshot: begun.snapshot, readAt: begun.readAt };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input.client[Symbol.asyncDispose]();
  }

  async #rows(
    session: Session,
    wanted: RowsWanted,
    begun: Begun,
  ): Promise<{ readonly rows: Omit<RowsRead, 'snapshot' | 'readAt'>; readonly isComplete: boolean }> {
    const { client, encoding, text } = session;
    const { table, range, rowsMax, bytesMax } = wanted;
    assert(rowsMax > 0 && bytesMax > 0, 'a read is of some rows');
    const plan = await this.#planOf(session, table, begun.signature);
    const keys = keyCondition(plan.schema, plan.key, range);
    await setKeys(client, keys);
    const rows: RowRead[] = [];
    let bytes = 0;
    const select = `SELECT ${plan.columns} FROM ${plan.from} WHERE ${whereOf(plan, keys.condition)} ORDER BY ${plan.keyColumns} LIMIT ${rowsMax}`;
    // Nothing is converted at the server: one text without a form in the other encoding would end the whole read.
    const unconverted = encoding.name === UTF8.name ? '' : `SET LOCAL client_encoding TO '${encoding.name}'; `;
    const copy = new CopyOut(`${unconverted}COPY (${select}) TO STDOUT`, (line) => {
      bytes += line.length;
      rows.push(rowOf(plan, line, text));
      return bytes < bytesMax;
    });
    client.query(copy);
    const { isWhole } = await copy.ended;
    const whole = isWhole && rows.length < rowsMax;
    return { rows: { schema: plan.schema, rows, bytes, isWhole: whole }, isComplete: isWhole };
  }

  async #planOf(session: Session, table: TableId, signature: string): Promise<Plan> {
    const known = this.#plans.get(table);
    if (known?.signature === signature) return known;
    const plan = await describe(session, { ...this.#input, table, signature });
    this.#plans.set(table, plan);
    return plan;
  }

  async #use<T>(signal: AbortSignal, work: (session: Session) => Promise<T>): Promise<T> {
    return await this.#input.client.use(signal, async (client) => {
      if (this.#session?.client !== client) {
        const encoding = await readEncoding(client);
        const { rows } = await client.query<{ version: string }>(`SELECT pg_catalog.current_setting('server_version_num') AS version`);
        this.#plans.clear();
        this.#session = { client, version: Number(rows[0]?.version ?? 0), encoding, text: formOf(encoding) };
      }
      return await work(this.#session);
    });
  }
}

type SnapshotRow = { readonly snapshot: string; readonly standby: boolean };

type Begun = { readonly snapshot: PostgresSnapshot; readonly readAt: EpochMicros; readonly signature: string };

/** On a standby the list of running transactions is empty, and what it shows as committed can be missing in its rows. */
const SNAPSHOT_COLUMNS = `pg_catalog.pg_current_snapshot()::text AS snapshot, pg_catalog.pg_is_in_recovery() AS standby`;

function snapshotOf({ snapshot, standby }: SnapshotRow): PostgresSnapshot {
  if (standby) throw new CausewayError('source_unavailable', 'the server that rows are read from has become a standby');
  return PostgresSnapshot.parse(snapshot);
}

/** What decides how a table is read. A snapshot from behind the lock sees the catalogue that its rows are of. */
const SIGNATURE = `(SELECT pg_catalog.md5(pg_catalog.string_agg(pg_catalog.concat_ws(' ', a.attrelid, a.attnum, a.attname, a.atttypid,
    a.atttypmod, a.attcollation, a.attgenerated, a.attnotnull), ',' ORDER BY a.attnum))
  FROM pg_catalog.pg_attribute a WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid = c.oid) || ' ' ||
  pg_catalog.concat_ws(' ', c.oid, c.relkind, (SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary),
    (SELECT pg_catalog.concat_ws(' ', m.oid, m.xmin) FROM pg_catalog.pg_publication_rel m JOIN pg_catalog.pg_publication p ON p.oid = m.prpubid
     WHERE m.prrelid = c.oid AND p.pubname = $3))`;

async function begin(client: pg.Client, of: { readonly table: TableId; readonly publication: string }): Promise<Begun> {
  const { table, publication } = of;
  await client.query(`BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE ${quoteTable(table)} IN ACCESS SHARE MODE`);
  const { schema, name } = tableIdParts(table);
  const { rows } = await client.query<SnapshotRow & { readonly signature: string | null; readonly micros: string }>(
    `SELECT ${SNAPSHOT_COLUMNS}, ${SIGNATURE} AS signature, (EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::int8::text AS micros
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`,
    [schema, name, publication],
  );
  const row = present(rows[0], 'the catalogue of a table that is locked');
  return { snapshot: snapshotOf(row), readAt: epochMicrosOf(Number(row.micros)), signature: row.signature ?? '' };
}

async function describe(
  { client, version }: Session,
  of: PostgresRowsInput & { readonly table: TableId; readonly signature: string },
): Promise<Plan> {
  const { table, publication, births, signature } = of;
  const relations = (await readRelations(client, { schemas: [], names: [table] })).filter(
    (row) => tableIdOf(row.schema, row.name) === table,
  );
  const catalogue = await describeRelations(client, { version, publication, relations, births });
  const found = catalogue.tables[0];
  const refusal = found === undefined ? null : refusalOf(found);
  const schema = found === undefined ? null : schemaOf(found);
  if (found === undefined || refusal !== null || schema === null) {
    const why = refusal === null ? 'it has no key that can be read by' : `${refusal.reason}; ${refusal.mend}`;
    throw new CausewayError('source_table_refused', `${table} cannot be read in the order of its key: ${why}`);
  }
  const name = (column: number): string => quoteIdentifier(present(schema.columns[column], 'a column').name);
  return {
    schema,
    signature,
    conversions: conversionsOf(schema),
    key: await keyColumnsOf(client, found, schema.key),
    columns: schema.columns.map((_, column) => name(column)).join(', '),
    keyColumns: schema.key.map(name).join(', '),
    from: `${found.relation.kind === 'p' ? '' : 'ONLY '}${quoteTable(table)}`,
    filter: found.member?.filter ?? null,
  };
}

function whereOf({ filter }: Plan, condition: string): string {
  return filter === null ? condition : `(${filter}) AND (${condition})`;
}

/** With the modifier -1, "none", format_type spells every type so that a cast to it changes nothing. */
async function keyColumnsOf(client: pg.ClientBase, table: CatalogueTable, places: readonly number[]): Promise<readonly KeyColumn[]> {
  const numbers = present(primaryKeyOf(table), 'the primary key').key;
  const { rows } = await client.query<{ number: number; spelled: string }>(
    `SELECT a.attnum::int4 AS number, pg_catalog.format_type(a.atttypid, -1) AS spelled FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = $1::pg_catalog.oid AND a.attnum = ANY ($2::int2[])`,
    [table.relation.oid, numbers],
  );
  return places.map((column, place) => ({
    column,
    cast: present(
      rows.find(({ number }) => number === numbers[place]),
      'the type of a key column',
    ).spelled,
  }));
}

function rowOf(plan: Plan, line: Buffer, text: TextForm): RowRead {
  const tuple = readCopyLine(line, text);
  if (tuple.values.length !== plan.schema.columns.length)
    throw new CausewayError('source_stream_invalid', 'the source sent a row with other columns than asked for');
  const withheld = canonicalise(plan, tuple);
  const key = rowKeyOf(plan.schema, tuple.values);
  if (key === null)
    throw new CausewayError('source_table_refused', `${plan.schema.table} holds a row whose primary key is not text that can be read`);
  return withheld === null ? { key, row: tuple.values, withheld } : { key, row: null, withheld };
}

function destroy(client: pg.Client): void {
  (client as unknown as { readonly connection: { readonly stream: { destroy(): void } } }).connection.stream.destroy();
}
