import type { Column, SchemaVersion, TableId, TableSchema } from '#core/schema.ts';
import type { CanonicalType } from '#core/value.ts';

export const text: CanonicalType = { tag: 'text' };
export const json: CanonicalType = { tag: 'json' };
export const float: CanonicalType = { tag: 'float', bits: 64 };
export const decimal: CanonicalType = { tag: 'decimal', precision: null, scale: null };

/** A table of these columns, of which the first is the key. */
export function tableOf(...types: readonly CanonicalType[]): TableSchema {
  const columns = types.map((type, at): Column => ({
    name: `c${at}`,
    type,
    sourceType: type.tag,
    nullable: at > 0,
    constantDefault: null,
  }));
  return { table: 'public.t' as TableId, version: 'v' as SchemaVersion, columns, key: [0] };
}
