import type { Brand } from './brand.ts';
import { digest } from './hash.ts';
import type { CanonicalType } from './value.ts';

/** `schema.table`, as the source spells it, without quotes. The schema part holds no dot. */
export type TableId = Brand<string, 'TableId'>;

/** Hash of a table's columns, types and key. */
export type SchemaVersion = Brand<string, 'SchemaVersion'>;

export type Column = {
  readonly name: string;
  readonly type: CanonicalType;
  /** The source's own spelling of the type, with its modifiers: `numeric(10,2)`, `public.mood`. */
  readonly sourceType: string;
  readonly nullable: boolean;
  /**
   * A constant default that rows from before the column hold without any event, as canonical text; null where there is none.
   * Only the source's catalogue knows it, so it is not part of the version.
   */
  readonly constantDefault: string | null;
};

export type TableSchema = {
  readonly table: TableId;
  readonly version: SchemaVersion;
  readonly columns: readonly Column[];
  /** Indexes into `columns`, in the key's own order. Never empty. */
  readonly key: readonly number[];
};

/**
 * What a table has at its source besides columns and key, such as indexes and domains: told to sinks so that one of the same family
 * can make or print it. As the catalogue has it now, so it is no part of the schema, its version or the log, and a change of it is
 * harmless. `hash` alone decides whether something differs; `facts` are the connectors' of the family.
 */
export type TableCompanions = { readonly family: string; readonly hash: string; readonly facts: unknown };

/** A schema as a sink's tables are made and checked from. */
export type DescribedTable = TableSchema & { readonly companions?: TableCompanions | undefined };

export function tableIdOf(schema: string, name: string): TableId {
  return `${schema}.${name}` as TableId;
}

export function tableIdParts(table: TableId): { readonly schema: string; readonly name: string } {
  const dot = table.indexOf('.');
  return { schema: table.slice(0, dot), name: table.slice(dot + 1) };
}

/**
 * Computes the version from what the source's log itself tells: names, types as the source spells them, and the key. What only
 * the catalogue knows (nullability, defaults, labels of an enum) is as of now and not as of the record's position, so it is left out.
 */
export function tableSchema(input: {
  readonly table: TableId;
  readonly columns: readonly Column[];
  readonly key: readonly number[];
}): TableSchema {
  const described = input.columns.map((column) => [column.name, column.sourceType]);
  const version = digest(JSON.stringify([input.table, described, input.key])) as string as SchemaVersion;
  return { table: input.table, version, columns: input.columns, key: input.key };
}

export type SchemaChange =
  | { readonly tag: 'same' }
  /** Nothing but columns that were added, each nullable or with a constant default: a sink can follow by itself. */
  | { readonly tag: 'additive'; readonly added: readonly Column[] }
  | { readonly tag: 'breaking'; readonly reasons: readonly string[] };

/** What a sink that holds rows of `before` has to do for rows of `after`. Columns are matched by name. */
export function compareSchemas(before: TableSchema, after: TableSchema): SchemaChange {
  const reasons: string[] = [];
  const old = new Map(before.columns.map((column) => [column.name, column]));
  const added: Column[] = [];
  for (const column of after.columns) {
    const was = old.get(column.name);
    old.delete(column.name);
    if (was === undefined) {
      added.push(column);
      if (!column.nullable && column.constantDefault === null) {
        reasons.push(`column ${column.name} was added as NOT NULL without a constant default`);
      }
      continue;
    }
    if (JSON.stringify(was.type) !== JSON.stringify(column.type) || was.sourceType !== column.sourceType) {
      reasons.push(`column ${column.name} changed its type from ${was.sourceType} to ${column.sourceType}`);
    } else if (was.nullable !== column.nullable) {
      reasons.push(`column ${column.name} became ${column.nullable ? 'nullable' : 'NOT NULL'}`);
    }
  }
  for (const name of old.keys()) reasons.push(`column ${name} was dropped or renamed`);
  const keyOf = (schema: TableSchema): string => JSON.stringify(schema.key.map((index) => schema.columns[index]?.name));
  if (keyOf(before) !== keyOf(after)) reasons.push('the primary key has other columns');
  if (reasons.length > 0) return { tag: 'breaking', reasons };
  return added.length > 0 ? { tag: 'additive', added } : { tag: 'same' };
}
