import type { Brand } from './brand.ts';
import type { TableId, TableSchema } from './schema.ts';
import type { CanonicalType, Row } from './value.ts';

/**
 * The table and the row's primary key as one JSON array: `["public.orders","17"]`. Keys that the source holds equal have
 * one text; it is the log record's key, and decides the partition.
 */
export type RowKey = Brand<string, 'RowKey'>;

/** The key's canonical text of one column: like its value, but one text for all values that the source holds equal. */
export function keyColumnText(type: CanonicalType, value: string): string {
  switch (type.tag) {
    case 'decimal':
      return decimalKeyText(value);
    case 'float':
      return value === '-0' ? '0' : value;
    default:
      return value;
  }
}

/** `1.00` and `1` are one key, and so are `-0` and `0`. */
function decimalKeyText(value: string): string {
  if (!value.includes('.')) return value === '-0' ? '0' : value;
  const trimmed = value.replace(/0+$/, '').replace(/\.$/, '');
  return trimmed === '-0' ? '0' : trimmed;
}

/** Types whose equality is the equality of their key texts. Others cannot be a key here; `check` names them. */
export function isKeyType(type: CanonicalType): boolean {
  switch (type.tag) {
    case 'json':
    case 'interval':
    case 'array':
      return false;
    case 'other':
      return KEY_TYPES_BY_NAME.has(type.name);
    default:
      return true;
  }
}

const KEY_TYPES_BY_NAME: ReadonlySet<string> = new Set(['inet', 'cidr', 'macaddr', 'macaddr8', 'pg_lsn', 'money']);

/** Returns null where a key column is null or absent: such a row has no identity. */
export function rowKeyOf(schema: TableSchema, row: Row): RowKey | null {
  let text = `[${JSON.stringify(schema.table)}`;
  for (const index of schema.key) {
    const value = row[index];
    const column = schema.columns[index];
    if (value === null || value === undefined || column === undefined) return null;
    text += `,${JSON.stringify(keyColumnText(column.type, value))}`;
  }
  return `${text}]` as RowKey;
}

/** The table and the key columns' texts, in the key's order. Throws SyntaxError for text that is not a key. */
export function parseRowKey(key: RowKey): { readonly table: TableId; readonly columns: readonly string[] } {
  const parts: unknown = JSON.parse(key);
  if (!Array.isArray(parts) || parts.length < 2 || !parts.every((part) => typeof part === 'string')) {
    throw new SyntaxError('a row key is a JSON array of the table and at least one text');
  }
  return { table: parts[0] as TableId, columns: parts.slice(1) };
}
