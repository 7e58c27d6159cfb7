// Records of the log: damaged ones, and those of formats that do not exist yet.
import { readFileSync } from 'node:fs';
import type { LogRecord } from '#core/record.ts';
import type { SchemaVersion, TableSchema } from '#core/schema.ts';
import { jsonCodec } from '../../../src/codec/json.ts';
import type { Chance } from '../chance.ts';
import { MARKER, type Target } from '../target.ts';

const golden = readFileSync(new URL('../../golden/log-records.v1.jsonl', import.meta.url), 'utf8')
  .trimEnd()
  .split('\n');
const schemas = new Map<SchemaVersion, TableSchema>();
const records: readonly string[] = golden.map((line) => {
  const record = jsonCodec.decode(Buffer.from(line), schemas);
  if (record.tag === 'schema') schemas.set(record.schema.version, record.schema);
  return markedRecord(record, line);
});
const buffers = records.map((text) => Buffer.from(text));

/** With the marker in every value of a row. */
function markedRecord(record: LogRecord, line: string): string {
  if (record.tag !== 'change' || record.row === null) return line;
  const schema = schemas.get(record.schemaVersion);
  if (schema === undefined) return line;
  const row = record.row.map((value, index) => (typeof value === 'string' && !schema.key.includes(index) ? MARKER : value));
  return Buffer.from(jsonCodec.encode({ ...record, row }, schema)).toString('utf8');
}

const strange: readonly unknown[] = [
  ...[null, true, 0, -1, 1.5, 1e308, 2 ** 53, '', MARKER, '0', '-1', [], {}, [[]], [MARKER], { [MARKER]: MARKER }, { v: 1 }],
  '0'.repeat(48),
  'f'.repeat(48),
  '18446744073709551616',
  '\ud800',
  'x'.repeat(5_000),
];

/** The record with some members replaced, dropped, added or given to one another. */
function bent(chance: Chance): Buffer {
  const record = JSON.parse(chance.among(records)) as Record<string, unknown>;
  for (let left = 1 + chance.below(3); left > 0; left -= 1) bend(record, chance);
  return Buffer.from(JSON.stringify(record));
}

function bend(value: Record<string, unknown>, chance: Chance): void {
  const names = Object.keys(value);
  const name =
    chance.is(0.1) || names.length === 0 ? chance.among(['v', '__proto__', 'after', 'toString', 'kind', 'key']) : chance.among(names);
  const inner = Object.hasOwn(value, name) ? value[name] : undefined;
  if (typeof inner === 'object' && inner !== null && chance.is(0.6)) {
    bend(inner as Record<string, unknown>, chance);
    return;
  }
  switch (chance.below(4)) {
    case 0:
      Reflect.deleteProperty(value, name);
      break;
    case 1:
      set(value, name, value[chance.among(names.length === 0 ? [name] : names)]);
      break;
    default:
      set(value, name, chance.among(strange));
  }
}

/** As a member of its own, whatever its name; a copy, as what is put in here can be bent in its turn. */
function set(value: Record<string, unknown>, name: string, member: unknown): void {
  const copied = typeof member === 'function' ? undefined : structuredClone(member);
  Object.defineProperty(value, name, { value: copied, writable: true, enumerable: true, configurable: true });
}

function nested(chance: Chance): Buffer {
  const depth = 1 + chance.below(20_000);
  const open = chance.among(['[', '{"a":']);
  const inside = `${open.repeat(depth)}1${(open === '[' ? ']' : '}').repeat(chance.is(0.8) ? depth : chance.below(depth))}`;
  return Buffer.from(chance.among(records).replace(/"after":\{/, `"after":{"x":${inside},`));
}

export function codecTarget(): Target {
  return {
    name: 'log-record',
    weight: 450,
    form: 'txt',
    make(chance) {
      if (chance.is(0.4)) return bent(chance);
      if (chance.is(0.002)) return nested(chance);
      return chance.damaged(chance.among(buffers), buffers);
    },
    react(input) {
      let record: LogRecord;
      try {
        record = jsonCodec.decode(input, schemas);
      } catch (error) {
        return { thrown: error };
      }
      // What was taken is a record: it can be written again, and means the same then.
      const schema = record.tag === 'change' ? (schemas.get(record.schemaVersion) ?? null) : null;
      const again = jsonCodec.decode(jsonCodec.encode(record, schema), schemas);
      const text = (one: LogRecord): string =>
        JSON.stringify(one, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
      if (text(again) !== text(record)) throw new Error('a record that was taken comes back as another one');
      return {};
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
