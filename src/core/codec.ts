import type { LogRecord } from './record.ts';
import type { SchemaVersion, TableSchema } from './schema.ts';

/** The schemas that a reader has met. A change can be decoded once the schema of its version is known. */
export interface SchemaCatalogue {
  get(version: SchemaVersion): TableSchema | undefined;
}

/**
 * Records to bytes and back. `decode(encode(r))` is `r`. Optional fields that it does not know are ignored; a format version
 * that it does not know is refused (`log_format_unknown`), as is anything that is not a record (`log_record_invalid`) and a
 * change of a schema version that the catalogue lacks (`log_schema_unknown`). Errors never hold a part of the record's values.
 */
export interface Codec {
  readonly name: string;
  /** `schema` is the change's own; other records pass null. */
  encode(record: LogRecord, schema: TableSchema | null): Uint8Array;
  decode(bytes: Uint8Array, schemas: SchemaCatalogue): LogRecord;
}
