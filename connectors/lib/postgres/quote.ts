import pg from 'pg';
import { tableIdParts, type TableId } from '#core/schema.ts';

/** `orders` → `"orders"`. */
export function quoteIdentifier(name: string): string {
  return pg.escapeIdentifier(name);
}

/** A text as an SQL literal, for the few statements that take no parameters. */
export function quoteLiteral(text: string): string {
  return pg.escapeLiteral(text).trimStart();
}

/** `public.orders` → `"public"."orders"`. */
export function quoteTable(table: TableId): string {
  const { schema, name } = tableIdParts(table);
  return `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
}
