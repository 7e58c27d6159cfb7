import { isKeyType } from '#core/key.ts';
import type { TableId } from '#core/schema.ts';
import type { RefusedTable, TABLE_NOT_LOADED } from '#core/source.ts';
import { quoteIdentifier, quoteTable } from '../lib/postgres/quote.ts';
import { canonicalType } from '../lib/postgres/values.ts';
import { primaryKeyOf, typeOfColumn, type CatalogueTable, type Partition } from './catalogue.ts';
import type { ColumnRow, IndexRow, RelationRow } from './catalogue-queries.ts';
import type { Selection } from './selection.ts';

/** Why a table cannot be captured. Shown by `status` and `check`. */
export type RefusalCode =
  | 'table_missing'
  | 'not_a_table'
  | 'foreign_table'
  | 'temporary_table'
  | 'unlogged_table'
  | 'table_is_partition'
  | 'no_primary_key'
  | 'deferrable_key'
  | 'key_type'
  | 'key_collation'
  | 'key_not_published'
  | 'identity_lacks_key'
  | 'identity_generated'
  | 'targets_collide'
  | 'table_renamed'
  | 'table_stopped'
  | typeof TABLE_NOT_LOADED;

export type Refusal = { readonly code: RefusalCode; readonly reason: string; readonly mend: string };

/** The first rule of DESIGN section 4 that the table breaks; null where it can be captured. */
export function refusalOf(table: CatalogueTable): Refusal | null {
  return refusedKind(table.table, table.relation) ?? refusedKey(table) ?? refusedIdentity(table) ?? refusedPartition(table);
}

function refusedKind(table: TableId, relation: RelationRow): Refusal | null {
  const leaveOut = `leave it out: add '!${table}' to \`tables\``;
  if (relation.kind === 'v' || relation.kind === 'm') {
    return { code: 'not_a_table', reason: 'it is a view, and only tables write to the log', mend: leaveOut };
  }
  if (relation.kind === 'f')
    return { code: 'foreign_table', reason: 'it is a foreign table: its changes are not in the log of this server', mend: leaveOut };
  if (relation.persistence === 't') return { code: 'temporary_table', reason: 'it is a temporary table', mend: leaveOut };
  if (relation.persistence === 'u') {
    return {
      code: 'unlogged_table',
      reason: 'it is unlogged: its changes are not in the log',
      mend: `ALTER TABLE ${quoteTable(table)} SET LOGGED;`,
    };
  }
  if (relation.is_partition) {
    return {
      code: 'table_is_partition',
      reason: 'it is a partition: its changes are published under its root',
      mend: 'name the partitioned table in `tables` instead',
    };
  }
  return null;
}

function refusedKey(table: CatalogueTable): Refusal | null {
  const key = primaryKeyOf(table);
  const name = quoteTable(table.table);
  if (key === null) {
    return { code: 'no_primary_key', reason: 'it has no primary key', mend: `ALTER TABLE ${name} ADD PRIMARY KEY (…);` };
  }
  const columns = keyColumns(table, key);
  const names = columns.map((column) => quoteIdentifier(column.name)).join(', ');
  if (!key.immediate) {
    const constraint = quoteIdentifier(key.constraint_name ?? key.name);
    return {
      code: 'deferrable_key',
      reason: 'its primary key is deferrable: inside a transaction two rows may have one key',
      mend: `ALTER TABLE ${name} DROP CONSTRAINT ${constraint}, ADD CONSTRAINT ${constraint} PRIMARY KEY (${names});`,
    };
  }
  for (const column of columns) {
    if (!isKeyType(canonicalType(typeOfColumn(table, column)))) {
      return {
        code: 'key_type',
        reason: `column ${column.name} of its key is of type ${column.type_text}, whose equal values have different texts`,
        mend: `ALTER TABLE ${name} ALTER COLUMN ${quoteIdentifier(column.name)} TYPE text; -- or another type that can be a key`,
      };
    }
    if (!column.collation_deterministic || !key.collations_deterministic) {
      return {
        code: 'key_collation',
        reason: `column ${column.name} of its key has a nondeterministic collation: texts that differ are equal`,
        mend: `ALTER TABLE ${name} ALTER COLUMN ${quoteIdentifier(column.name)} TYPE ${column.type_text} COLLATE "C";`,
      };
    }
    if (!table.published.includes(column)) {
      return {
        code: 'key_not_published',
        reason: `column ${column.name} of its key is not among the columns that the publication carries`,
        mend: publishColumn(table, column),
      };
    }
  }
  return null;
}

function publishColumn(table: CatalogueTable, { name, generated }: ColumnRow): string {
  if (generated === '') return `add ${quoteIdentifier(name)} to the table's column list in the publication`;
  if (table.refusesGeneratedIdentity && generated === 's') return 'make the publication with publish_generated_columns = stored';
  return `it is generated, and such columns are not in the stream: leave the table out, add '!${table.table}' to \`tables\``;
}

function keyColumns(table: CatalogueTable, key: IndexRow): CatalogueTable['columns'] {
  return key.key.flatMap((number) => table.columns.filter((column) => column.number === number));
}

function refusedIdentity(table: CatalogueTable): Refusal | null {
  if (identityCoversKey(table.relation, table.indexes)) return null;
  return {
    code: 'identity_lacks_key',
    reason: 'its replica identity does not hold the old primary key of a changed row',
    mend: `ALTER TABLE ${quoteTable(table.table)} REPLICA IDENTITY DEFAULT;`,
  };
}

/**
 * Once such a table is published, the server refuses every update and delete of it: it may be captured where that is so already,
 * but no publication of ours may be the cause.
 */
export function refusedWrites(table: CatalogueTable): Refusal | null {
  if (!table.refusesGeneratedIdentity) return null;
  const whole = [table.relation, ...table.partitions.map(({ relation }) => relation)].find(({ identity }) => identity === 'f');
  if (whole === undefined) return null;
  const generated = table.columns.filter((column) => column.generated !== '' && !table.published.includes(column));
  const names = generated.map(({ name }) => name).join(', ');
  const reset = `ALTER TABLE ${quoteIdentifier(whole.schema)}.${quoteIdentifier(whole.name)} REPLICA IDENTITY DEFAULT;`;
  const publishable = generated.every((column) => column.generated === 's');
  return {
    code: 'identity_generated',
    reason: `its replica identity is full and holds the generated column ${names}: once it is published without that, the server refuses to update or delete its rows`,
    mend: publishable ? `${reset} -- or make the publication with publish_generated_columns = stored, which copies the column` : reset,
  };
}

/** The old key of an update or a delete stands in the log where the identity is the primary key or the whole row. */
export function identityCoversKey(relation: RelationRow, indexes: readonly IndexRow[]): boolean {
  switch (relation.identity) {
    case 'f':
      return true;
    case 'd':
      return indexes.some(({ is_primary, usable }) => is_primary && usable);
    case 'i':
      return indexes.some(({ is_primary, is_identity, usable }) => is_primary && is_identity && usable);
    default:
      return false;
  }
}

function refusedPartition(table: CatalogueTable): Refusal | null {
  for (const partition of table.partitions) {
    const refusal = refusedAsPartition(partition);
    if (refusal !== null) return refusal;
  }
  return null;
}

function refusedAsPartition({ relation, indexes }: Partition): Refusal | null {
  const name = `${quoteIdentifier(relation.schema)}.${quoteIdentifier(relation.name)}`;
  if (relation.kind === 'f') {
    return { code: 'foreign_table', reason: `its partition ${name} is a foreign table`, mend: `detach ${name}, or leave the table out` };
  }
  // A partitioned table in between stores no rows of its own.
  if (relation.kind === 'p') return null;
  if (relation.persistence === 'u') {
    return { code: 'unlogged_table', reason: `its partition ${name} is unlogged`, mend: `ALTER TABLE ${name} SET LOGGED;` };
  }
  if (!identityCoversKey(relation, indexes)) {
    return {
      code: 'identity_lacks_key',
      reason: `the replica identity of its partition ${name} does not hold the old primary key of a changed row`,
      mend: `ALTER TABLE ${name} REPLICA IDENTITY DEFAULT;`,
    };
  }
  return null;
}

/** Tables that are named but not there. */
export function missingTables(selection: Selection, found: ReadonlySet<TableId>): readonly RefusedTable[] {
  return selection.names
    .filter((table) => selection.includes(table) && !found.has(table))
    .map((table) => ({
      table,
      code: 'table_missing',
      reason: 'there is no such table',
      mend: `remove ${table} from \`tables\`, or create it`,
    }));
}

/** Tables whose rows would overwrite each other. */
export function collidingTargets(selection: Selection, tables: readonly TableId[]): ReadonlyMap<TableId, Refusal> {
  const byTarget = new Map<TableId, TableId[]>();
  for (const table of tables) {
    const target = selection.targetOf(table);
    byTarget.set(target, [...(byTarget.get(target) ?? []), table]);
  }
  const refusals = new Map<TableId, Refusal>();
  for (const [target, sources] of byTarget) {
    if (sources.length === 1) continue;
    for (const table of sources) {
      const others = sources.filter((other) => other !== table).join(', ');
      refusals.set(table, {
        code: 'targets_collide',
        reason: `it goes to ${target}, and so does ${others}`,
        mend: 'give each table a `target` of its own, or leave one out',
      });
    }
  }
  return refusals;
}
