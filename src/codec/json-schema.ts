import type { Column, SchemaVersion, TableId, TableSchema } from '#core/schema.ts';
import type { CanonicalType } from '#core/value.ts';
import { arrayOf, countOf, type Fields, flagOf, invalid, nameOf, objectOf, optionalText, textOf } from './json-fields.ts';

/** The table schema of a `schema` record. */
export function schemaOf(fields: Fields): TableSchema {
  const columns = arrayOf(fields['columns'], 'columns').map(columnOf);
  const places = new Map(columns.map((column, index) => [column.name, index]));
  if (places.size !== columns.length) throw invalid('columns repeats a name');
  const key = arrayOf(fields['primaryKey'], 'primaryKey').map((name) => {
    const index = places.get(textOf(name, 'primaryKey'));
    if (index === undefined) throw invalid('primaryKey names no column');
    return index;
  });
  if (key.length === 0) throw invalid('primaryKey is empty');
  return {
    table: nameOf(fields['table'], 'table') as TableId,
    version: nameOf(fields['schema'], 'schema') as SchemaVersion,
    columns,
    key,
  };
}

function columnOf(value: unknown): Column {
  const fields = objectOf(value, 'columns');
  return {
    name: textOf(fields['name'], 'columns.name'),
    type: typeOf(fields['type']),
    sourceType: textOf(fields['sourceType'], 'columns.sourceType'),
    nullable: flagOf(fields['nullable'], 'columns.nullable'),
    constantDefault: optionalText(fields['constantDefault'], 'columns.constantDefault'),
  };
}

/** A type from a newer release that has no tag here would be read wrongly, so it is refused. */
function typeOf(value: unknown): CanonicalType {
  const fields = objectOf(value, 'columns.type');
  const tag = fields['tag'];
  switch (tag) {
    case 'bool':
    case 'text':
    case 'bytes':
    case 'date':
    case 'time':
    case 'timestamp':
    case 'timestamptz':
    case 'interval':
    case 'uuid':
    case 'json':
    case 'bit':
      return { tag };
    case 'int': {
      const { bits } = fields;
      if (bits !== 16 && bits !== 32 && bits !== 64) throw invalid('columns.type.bits is not known');
      return { tag, bits, unsigned: flagOf(fields['unsigned'], 'columns.type.unsigned') };
    }
    case 'float': {
      const { bits } = fields;
      if (bits !== 32 && bits !== 64) throw invalid('columns.type.bits is not known');
      return { tag, bits };
    }
    case 'decimal':
      return { tag, precision: countOrNull(fields['precision']), scale: scaleOrNull(fields['scale']) };
    case 'enum':
      return { tag, labels: arrayOf(fields['labels'], 'columns.type.labels').map((label) => textOf(label, 'columns.type.labels')) };
    case 'array':
      return { tag, element: typeOf(fields['element']) };
    case 'other':
      return { tag, name: textOf(fields['name'], 'columns.type.name') };
    default:
      throw invalid('columns.type is not known');
  }
}

function countOrNull(value: unknown): number | null {
  return value === null ? null : countOf(value, 'columns.type.precision');
}

/** Postgres allows a negative scale. */
function scaleOrNull(value: unknown): number | null {
  if (value === null) return null;
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw invalid('columns.type.scale is not a whole number');
  return value;
}
