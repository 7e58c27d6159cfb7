import type { TableSchema } from '#core/schema.ts';
import type { Value } from '#core/value.ts';
import { identity, toCanonical, type TextConverter } from '../lib/postgres/values.ts';
import { ValueTextError } from '../lib/postgres/value-text-error.ts';
import type { Tuple } from './pgoutput/tuple.ts';

/** How the texts that the server prints for a row become canonical ones. */
export type RowForm = {
  readonly schema: TableSchema;
  /** Only the columns whose text the server prints in another form. */
  readonly conversions: readonly Conversion[];
};

export type Conversion = { readonly column: number; readonly convert: TextConverter };

export function conversionsOf(schema: TableSchema): Conversion[] {
  return schema.columns.flatMap(({ type }, column) => {
    const convert = toCanonical(type);
    return convert === identity ? [] : [{ column, convert }];
  });
}

/** Changes the values in place to canonical texts. Returns why, where one of them cannot be read. */
export function canonicalise(form: RowForm, tuple: Tuple): string | null {
  const [first] = tuple.unreadable;
  const unreadable = first === undefined ? null : unreadableColumn(form, first);
  return convertColumns(form, tuple.values, form.conversions) ?? unreadable;
}

export function convertColumns(form: RowForm, values: Value[], conversions: readonly Conversion[]): string | null {
  let reason: string | null = null;
  for (const { column, convert } of conversions) {
    const text = values[column];
    if (text === null || text === undefined) continue;
    try {
      values[column] = convert(text);
    } catch (error) {
      // A canonical text can be longer than the server's, and then too long for a string: a RangeError.
      if (!(error instanceof ValueTextError) && !(error instanceof RangeError)) throw error;
      values[column] = null;
      reason = `column ${form.schema.columns[column]?.name ?? ''}: ${error.message}`;
    }
  }
  return reason;
}

export function unreadableColumn({ schema }: RowForm, column: number): string {
  return `column ${schema.columns[column]?.name ?? ''}: the bytes are no text in the encoding of the database, or more than 256 MiB`;
}
