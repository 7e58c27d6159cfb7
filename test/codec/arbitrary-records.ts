import fc from 'fast-check';
import { type RowKey, rowKeyOf } from '#core/key.ts';
import type { Epoch, EpochMicros, FencingToken, Position } from '#core/position.ts';
import type { ChangeOp, ControlRecord, Envelope, LogRecord } from '#core/record.ts';
import { type Column, tableIdOf, type TableSchema, tableSchema } from '#core/schema.ts';
import { encodeSequence, type Sequence } from '#core/sequence.ts';
import type { CanonicalType, Row, Value } from '#core/value.ts';

/** Objects with the usual prototype, as every other code makes them. */
function plain<T>(members: { readonly [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record<T>(members, { noNullPrototype: true });
}

/** Lone surrogates, controls, quotes and whatever else JSON makes difficult. */
const anyText = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 8 }).map((units) => String.fromCharCode(...units)),
  fc.constantFrom('', '"', '\\', '\u0000', '\u2028', '\ud800', '\udfff', '\udc00\ud800', '😀', '\ufeff'),
);

const columnName = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom('id', 'note', 'big', '__proto__', 'constructor', 'toString', 'hasOwnProperty', '0', '17', 'a"b\\c'),
  },
  { weight: 1, arbitrary: anyText },
);

const canonicalType: fc.Arbitrary<CanonicalType> = fc.letrec<{ type: CanonicalType }>((tie) => ({
  type: fc.oneof(
    { depthSize: 'small' },
    fc
      .constantFrom('bool', 'text', 'bytes', 'date', 'time', 'timestamp', 'timestamptz', 'interval', 'uuid', 'json', 'bit')
      .map((tag) => ({ tag })),
    plain({ tag: fc.constant('int' as const), bits: fc.constantFrom(16 as const, 32 as const, 64 as const), unsigned: fc.boolean() }),
    plain({ tag: fc.constant('float' as const), bits: fc.constantFrom(32 as const, 64 as const) }),
    plain({
      tag: fc.constant('decimal' as const),
      precision: fc.option(fc.nat(1000)),
      scale: fc.option(fc.integer({ min: -1000, max: 1000 })),
    }),
    plain({ tag: fc.constant('enum' as const), labels: fc.array(anyText, { maxLength: 3 }) }),
    plain({ tag: fc.constant('other' as const), name: anyText }),
    plain({ tag: fc.constant('array' as const), element: tie('type') }),
  ),
})).type;

export const anySchema: fc.Arbitrary<TableSchema> = fc
  .uniqueArray(
    plain({
      name: columnName,
      type: canonicalType,
      sourceType: anyText,
      nullable: fc.boolean(),
      constantDefault: fc.option(anyText),
    }),
    { minLength: 1, maxLength: 6, selector: (column: Column) => column.name },
  )
  .chain((columns) =>
    plain({
      columns: fc.constant(columns),
      key: fc.shuffledSubarray([...columns.keys()], { minLength: 1 }),
      table: anyText.map((name) => tableIdOf('public', name)),
    }),
  )
  .map(tableSchema);

const micros = fc.maxSafeInteger().map((value) => value as EpochMicros);
const count = fc.maxSafeNat();
const token = count.map((value) => value as FencingToken);
const epoch = fc.integer({ min: 1, max: 0xffff_ffff }).map((value) => value as Epoch);
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

export const anySequence: fc.Arbitrary<Sequence> = plain({
  epoch,
  commit: u64,
  change: u64,
  sub: fc.integer({ min: 0, max: 0xffff_ffff }),
}).map(encodeSequence);

const envelope: fc.Arbitrary<Envelope> = plain({ generation: token, holder: anyText, counter: count });

/** The four shapes that a change has: whole or partial, withheld, a delete, a repair that deletes. */
const shape = (columns: number): fc.Arbitrary<{ readonly op: ChangeOp; readonly row: Row | null; readonly withheld: string | null }> => {
  const value: fc.Arbitrary<Value> = fc.oneof({ weight: 4, arbitrary: anyText }, fc.constant(null), fc.constant(undefined));
  return fc.oneof(
    {
      weight: 4,
      arbitrary: plain({
        op: fc.constantFrom<ChangeOp>('insert', 'update', 'read', 'repair'),
        row: fc.array(value, { minLength: columns, maxLength: columns }),
        withheld: fc.constant(null),
      }),
    },
    plain({ op: fc.constantFrom<ChangeOp>('insert', 'update', 'delete', 'read', 'repair'), row: fc.constant(null), withheld: anyText }),
    plain({ op: fc.constantFrom<ChangeOp>('delete', 'repair'), row: fc.constant(null), withheld: fc.constant(null) }),
  );
};

const keyFor = (schema: TableSchema): fc.Arbitrary<RowKey> =>
  fc.array(anyText, { minLength: schema.columns.length, maxLength: schema.columns.length }).map((row) => rowKeyOf(schema, row) as RowKey);

/** A change with the schema that it is encoded and decoded with. */
export const anyChange: fc.Arbitrary<{ readonly record: LogRecord; readonly schema: TableSchema }> = anySchema.chain((schema) =>
  plain({
    envelope,
    shape: shape(schema.columns.length),
    key: keyFor(schema),
    sequence: anySequence,
    committedAt: micros,
    transactionId: anyText,
    origin: fc.option(anyText),
    trace: fc.option(anyText),
    sink: fc.option(anyText),
  }).map(({ envelope, shape, ...rest }) => ({
    schema,
    record: { tag: 'change', table: schema.table, schemaVersion: schema.version, ...envelope, ...shape, ...rest },
  })),
);

const table = anyText.map((name) => tableIdOf('public', name));

const control: fc.Arbitrary<ControlRecord> = fc.oneof(
  plain({ tag: fc.constant('truncate' as const), table, sequence: anySequence, committedAt: micros }),
  plain({ tag: fc.constant('schema' as const), schema: anySchema }),
  plain({
    tag: fc.constant('watermark' as const),
    sequence: anySequence,
    position: fc.string({ minLength: 1 }).map((text) => text as Position),
    sourceTime: micros,
    requestId: fc.option(anyText),
  }),
  plain({ tag: fc.constantFrom('load-open' as const, 'load-close' as const), table, sink: fc.option(anyText) }),
  plain({
    tag: fc.constant('generation-open' as const),
    epoch,
    fork: u64,
    partitions: fc.integer({ min: 1, max: 1000 }),
    acknowledged: fc.option(plain({ generation: token, counter: count })),
  }),
  plain({ tag: fc.constant('epoch-open' as const), epoch, fork: u64 }),
);

export const anyControl: fc.Arbitrary<LogRecord> = plain({ envelope, control }).map(({ envelope, control }) => ({
  ...envelope,
  ...control,
}));

export function textColumn(name: string): Column {
  return { name, type: { tag: 'text' }, sourceType: 'text', nullable: true, constantDefault: null };
}

/** A change whose table, key and row a test fills in. */
export const sampleRecord = {
  tag: 'change',
  generation: 7 as FencingToken,
  holder: '9f2c1d',
  counter: 42,
  sequence: encodeSequence({ epoch: 1 as Epoch, commit: 0x16b_3748n, change: 0x16b_3700n, sub: 1 }),
  op: 'update',
  withheld: null,
  committedAt: 1_790_000_000_000_000 as EpochMicros,
  transactionId: '731',
  origin: null,
  trace: null,
  sink: null,
} as const;
