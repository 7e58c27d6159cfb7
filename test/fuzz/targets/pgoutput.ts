// Frames of the replication stream: one alone, and whole streams through everything up to the log's records.
import { readFileSync } from 'node:fs';
import type { Epoch, FencingToken } from '#core/position.ts';
import { tableIdOf, tableSchema, type SchemaVersion, type TableSchema } from '#core/schema.ts';
import type { SourceMessage } from '#core/event.ts';
import type { CanonicalType, Value } from '#core/value.ts';
import { Assembler } from '../../../connectors/source-postgres/assemble.ts';
import type { Lsn } from '../../../connectors/source-postgres/lsn.ts';
import { decodePgoutput, encodePgoutput, type PgoutputMessage } from '../../../connectors/source-postgres/pgoutput/decode.ts';
import type { Tuple } from '../../../connectors/source-postgres/pgoutput/tuple.ts';
import type { Relation, RelationResolution, RelationResolver } from '../../../connectors/source-postgres/relation.ts';
import { Encoder } from '../../../src/capture/encode.ts';
import { jsonCodec } from '../../../src/codec/json.ts';
import type { Chance } from '../chance.ts';
import { MARKER, type Reaction, type Target } from '../target.ts';

type Golden = { readonly frame: string };

const captured: readonly Buffer[] = [14, 18].flatMap((major) => {
  const file = new URL(`../../golden/pgoutput/postgres-${major}.json`, import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as Golden[]).map(({ frame }) => Buffer.from(frame, 'hex'));
});
const frames = captured.map(marked);

/** The frame with the marker in place of every text that is not part of a key. */
function marked(frame: Buffer): Buffer {
  const message = decodePgoutput(frame);
  const values = (tuple: Tuple): Tuple => ({
    ...tuple,
    values: tuple.values.map((value, index) => (index === 0 ? value : markedText(value))),
  });
  switch (message.tag) {
    case 'insert':
      return encodePgoutput({ ...message, row: values(message.row) });
    case 'update': {
      const old = message.old === null ? null : { ...message.old, tuple: values(message.old.tuple) };
      return encodePgoutput({ ...message, old, row: values(message.row) });
    }
    case 'delete':
      return encodePgoutput({ ...message, old: { ...message.old, tuple: values(message.old.tuple) } });
    default:
      return frame;
  }
}

function markedText(value: Value): Value {
  return typeof value === 'string' ? MARKER : value;
}

export function frameTarget(): Target {
  return {
    name: 'pgoutput-frame',
    weight: 400,
    form: 'hex',
    make: (chance) => (chance.is(0.02) ? chance.bytes(chance.below(200)) : chance.damaged(chance.among(frames), frames)),
    react(input) {
      let message: PgoutputMessage;
      try {
        message = decodePgoutput(input);
      } catch (error) {
        return { thrown: error };
      }
      // What was taken has to be what stands there, as far as it is text.
      if (readable(message)) {
        const again = encodePgoutput(message);
        if (!again.equals(input) && !isLenient(message)) throw new Error('a frame that was taken comes back as another one');
      }
      return {};
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** Rows whose bytes are no UTF-8 do not come back; that is told in `unreadable`. */
function readable(message: PgoutputMessage): boolean {
  switch (message.tag) {
    case 'insert':
      return message.row.unreadable.length === 0;
    case 'update':
      return message.row.unreadable.length === 0 && (message.old === null || message.old.tuple.unreadable.length === 0);
    case 'delete':
      return message.old.tuple.unreadable.length === 0;
    default:
      return true;
  }
}

/** Messages with names or flag bits that nothing depends on: their bytes need not come back. */
function isLenient(message: PgoutputMessage): boolean {
  return !['insert', 'update', 'delete', 'begin'].includes(message.tag);
}

const TYPES: readonly CanonicalType[] = [
  { tag: 'text' },
  { tag: 'int', bits: 32, unsigned: false },
  { tag: 'decimal', precision: null, scale: null },
  { tag: 'timestamptz' },
  { tag: 'bytes' },
  { tag: 'array', element: { tag: 'text' } },
  { tag: 'float', bits: 64 },
  { tag: 'interval' },
  { tag: 'date' },
];

class Catalogue implements RelationResolver {
  resolve(relation: Relation): Promise<RelationResolution> {
    const key = relation.columns.flatMap((column, index) => (column.inIdentity ? [index] : [])).slice(0, 1);
    if (key.length === 0 || relation.schema === '' || relation.name === '') return Promise.resolve({ tag: 'ignored' });
    if (new Set(relation.columns.map(({ name }) => name)).size < relation.columns.length) return Promise.resolve({ tag: 'ignored' });
    const columns = relation.columns.map(({ name, typeOid }) => ({
      name,
      // Types that the texts are not of: each conversion meets what it cannot read.
      type: TYPES[typeOid % TYPES.length] ?? { tag: 'text' as const },
      sourceType: 'x',
      nullable: true,
      constantDefault: null,
    }));
    return Promise.resolve({ tag: 'captured', schema: tableSchema({ table: tableIdOf(relation.schema, relation.name), columns, key }) });
  }

  stopped(): void {
    // Its changes are dropped, which is what is wanted here.
  }
}

/** Each frame with its length in front, as the corpus keeps a stream. */
function joined(stream: readonly Buffer[]): Buffer {
  return Buffer.concat(
    stream.flatMap((frame) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(frame.length);
      return [length, frame];
    }),
  );
}

function split(input: Buffer): readonly Buffer[] {
  const stream: Buffer[] = [];
  for (let at = 0; at + 4 <= input.length;) {
    const end = Math.min(input.length, at + 4 + input.readUInt32BE(at));
    stream.push(input.subarray(at + 4, end));
    at = end;
  }
  return stream;
}

function disturbed(chance: Chance): readonly Buffer[] {
  const begins = frames.flatMap((frame, index) => (frame[0] === 0x42 ? [index] : []));
  const from = chance.is(0.7) ? 0 : chance.among(begins);
  const stream = frames.slice(from, from + 5 + chance.below(frames.length));
  for (let left = chance.below(4); left > 0; left -= 1) {
    const at = chance.below(stream.length);
    const other = chance.below(stream.length);
    const frame = stream[at] ?? Buffer.alloc(0);
    switch (chance.below(4)) {
      case 0:
        stream.splice(at, 1);
        break;
      case 1:
        stream.splice(other, 0, frame);
        break;
      case 2:
        stream[at] = stream[other] ?? frame;
        stream[other] = frame;
        break;
      default:
        stream[at] = chance.damaged(frame, frames);
    }
  }
  return stream;
}

export function streamTarget(): Target {
  return {
    name: 'pgoutput-stream',
    weight: 60,
    form: 'hex',
    make: (chance) => joined(disturbed(chance)),
    react: (input) => follow(split(input)),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function follow(stream: readonly Buffer[]): Promise<Reaction> {
  const assembler = new Assembler(new Catalogue());
  const encoder = new Encoder({
    codec: jsonCodec,
    generation: 1 as FencingToken,
    holder: 'fuzz',
    epoch: 1 as Epoch,
    partitions: 3,
    recordBytesMax: 4_096,
    captures: () => true,
  });
  const schemas = new Map<SchemaVersion, TableSchema>();
  try {
    for (const [index, frame] of stream.entries()) {
      const message = decodePgoutput(frame);
      const out: SourceMessage[] = [];
      if (message.tag === 'relation') await assembler.describe(message.relation, out, new AbortController().signal);
      else assembler.add(message, BigInt(1_000 + index) as Lsn, out);
      for (const shown of out) if (shown.tag === 'schema') schemas.set(shown.schema.version, shown.schema);
      for (const { value } of encoder.encode(out).records) {
        // Whatever was published can be read by every consumer.
        const record = jsonCodec.decode(value, schemas);
        if (record.tag === 'schema') schemas.set(record.schema.version, record.schema);
      }
    }
    return {};
  } catch (error) {
    return { thrown: error };
  }
}
