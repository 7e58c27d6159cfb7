import type { SchemaCatalogue } from '#core/codec.ts';
import { CausewayError } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import { foreignFormat } from '#core/log-format.ts';
import type { Position } from '#core/position.ts';
import type { ChangeOp, ChangeRecord, ControlRecord, CounterPair, Envelope, LogRecord } from '#core/record.ts';
import type { SchemaVersion, TableId, TableSchema } from '#core/schema.ts';
import type { Row, Value } from '#core/value.ts';
import { afterWithPlainNames, memberNames } from './json-escaped-names.ts';
import { FORMAT_VERSION } from './json-encode.ts';
import {
  arrayOf,
  countOf,
  epochField,
  type Fields,
  invalid,
  microsOf,
  nameOf,
  objectOf,
  optionalText,
  sequenceOf,
  textOf,
  tokenOf,
  u64Of,
} from './json-fields.ts';
import { expectHead, scanChange } from './json-scan.ts';
import { schemaOf } from './json-schema.ts';

/** Of a digest. */
const VERSION_FORM = /^[0-9a-f]{16}$/;

export function decodeText(text: string, schemas: SchemaCatalogue): LogRecord {
  const scanned = scanChange(text, schemas);
  if (scanned !== null) return scanned;
  const fields = objectOf(parse(text), 'the record');
  const format = fields['v'];
  if (format !== FORMAT_VERSION) throw formatError(format);
  const generation = tokenOf(fields['gen']);
  const holder = textOf(fields['by'], 'by');
  const counter = countOf(fields['n'], 'n');
  if (fields['kind'] === 'change') {
    const change = changeOf({ text, fields, envelope: { generation, holder, counter } }, schemas);
    expectHead(change);
    return change;
  }
  return { generation, holder, counter, ...controlOf(fields) };
}

/** The parser's own message quotes the text, which may be a row's value, so it is dropped. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw invalid('it is not JSON');
  }
}

function formatError(format: unknown): CausewayError {
  if (typeof format !== 'number' || !Number.isSafeInteger(format)) return invalid('v is not a format version');
  return new CausewayError('log_format_unknown', `a record in the log has ${foreignFormat(format)}`);
}

function changeOf(
  parsed: { readonly text: string; readonly fields: Fields; readonly envelope: Envelope },
  schemas: SchemaCatalogue,
): Envelope & ChangeRecord {
  const { text, fields, envelope } = parsed;
  const schemaVersion = nameOf(fields['schema'], 'schema') as SchemaVersion;
  const schema = schemas.get(schemaVersion);
  if (schema === undefined) {
    // A record that is damaged can have a value of its row in this place.
    const which = VERSION_FORM.test(schemaVersion) ? ` ${schemaVersion}` : '';
    throw new CausewayError('log_schema_unknown', `schema version${which} has not been shown`);
  }
  if (fields['table'] !== schema.table) throw invalid('table is not that of its schema version');
  const op = opOf(fields['op']);
  const row = fields['after'] === undefined ? null : imageOf(text, fields['after'], schema);
  const withheld = optionalText(fields['withheld'], 'withheld');
  checkImage({ op, hasRow: row !== null, isWithheld: withheld !== null });
  return {
    tag: 'change',
    generation: envelope.generation,
    holder: envelope.holder,
    counter: envelope.counter,
    table: schema.table,
    schemaVersion,
    key: keyOf(fields['key'], schema),
    sequence: sequenceOf(fields['seq']),
    op,
    row,
    withheld,
    committedAt: microsOf(fields['at']),
    transactionId: textOf(fields['tx'], 'tx'),
    origin: optionalText(fields['origin'], 'origin'),
    trace: optionalText(fields['trace'], 'trace'),
    sink: optionalText(fields['sink'], 'sink'),
  };
}

/** A delete has no image; every other change has one, or says why it is withheld; a repair without either is a delete. */
function checkImage(image: { readonly op: ChangeOp; readonly hasRow: boolean; readonly isWithheld: boolean }): void {
  if (image.hasRow && image.isWithheld) throw invalid('a withheld change has no after');
  if (image.hasRow && image.op === 'delete') throw invalid('a delete has no after');
  if (!image.hasRow && !image.isWithheld && image.op !== 'delete' && image.op !== 'repair') throw invalid('after is missing');
}

function opOf(value: unknown): ChangeOp {
  switch (value) {
    case 'insert':
    case 'update':
    case 'delete':
    case 'read':
    case 'repair':
      return value;
    default:
      throw invalid('op is not known');
  }
}

/** The row key again, with the table that the log's `key` leaves out. */
function keyOf(value: unknown, schema: TableSchema): RowKey {
  const columns = arrayOf(value, 'key');
  if (columns.length !== schema.key.length) throw invalid('key has not one text for each key column');
  for (const column of columns) textOf(column, 'key');
  return JSON.stringify([schema.table, ...columns]) as RowKey;
}

function imageOf(text: string, after: unknown, schema: TableSchema): Row {
  const { names, escaped } = memberNames(schema);
  return rowOf(objectOf(escaped ? afterWithPlainNames(text) : after, 'after'), names);
}

function rowOf(after: Fields, names: readonly string[]): Row {
  const row: Value[] = [];
  let found = 0;
  for (const name of names) {
    const value = after[name];
    if (typeof value === 'string' || value === null) {
      found += 1;
      row.push(value);
    } else if (value === undefined || !Object.hasOwn(after, name)) {
      // What a column called `constructor` or `__proto__` inherits is no text, so that it is seen here as absent.
      row.push(undefined);
    } else {
      throw invalid('after holds something else than text and null');
    }
  }
  let present = 0;
  for (const _name in after) present += 1;
  if (present !== found) throw invalid('after names a column that its schema version lacks');
  return row;
}

function controlOf(fields: Fields): ControlRecord {
  const kind = fields['kind'];
  switch (kind) {
    case 'truncate':
      return { tag: kind, table: tableOf(fields), sequence: sequenceOf(fields['seq']), committedAt: microsOf(fields['at']) };
    case 'schema':
      return { tag: kind, schema: schemaOf(fields) };
    case 'watermark':
      return {
        tag: kind,
        sequence: sequenceOf(fields['seq']),
        position: nameOf(fields['position'], 'position') as Position,
        sourceTime: microsOf(fields['at']),
        requestId: optionalText(fields['request'], 'request'),
      };
    case 'load-open':
    case 'load-close':
      return { tag: kind, table: tableOf(fields), sink: optionalText(fields['sink'], 'sink') };
    case 'generation-open':
      return {
        tag: kind,
        epoch: epochField(fields['epoch']),
        fork: u64Of(fields['fork'], 'fork'),
        partitions: partitionsOf(fields['partitions']),
        acknowledged: fields['acknowledged'] === null ? null : pairOf(objectOf(fields['acknowledged'], 'acknowledged')),
      };
    case 'epoch-open':
      return { tag: kind, epoch: epochField(fields['epoch']), fork: u64Of(fields['fork'], 'fork') };
    default:
      throw invalid('kind is not known');
  }
}

function tableOf(fields: Fields): TableId {
  return nameOf(fields['table'], 'table') as TableId;
}

function partitionsOf(value: unknown): number {
  const partitions = countOf(value, 'partitions');
  if (partitions === 0) throw invalid('partitions is 0');
  return partitions;
}

function pairOf(fields: Fields): CounterPair {
  return { generation: tokenOf(fields['gen']), counter: countOf(fields['n'], 'acknowledged.n') };
}
