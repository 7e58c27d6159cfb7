import type { TableSchema } from '#core/schema.ts';
import type { CanonicalType, Row } from '#core/value.ts';

/**
 * Every canonical text of a column comes back as it is: the types that a column may have here hold the source's values as the source prints
 * them, and sessions print alike at both ends. Refused are texts that are no text here.
 */
export function readBackOf(schema: TableSchema): (row: Row) => Row | null {
  const texts = [...schema.columns.keys()].filter((index) => isText(schema.columns[index]?.type));
  return (row) => (texts.some((index) => isRefused(row[index] ?? '')) ? null : row);
}

function isText(type: CanonicalType | undefined): boolean {
  return type?.tag === 'text' || type?.tag === 'json' || type?.tag === 'enum' || type?.tag === 'other';
}

function isRefused(text: string): boolean {
  return text.includes('\0') || !text.isWellFormed();
}
