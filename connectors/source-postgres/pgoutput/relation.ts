import type { Relation, RelationColumn, ReplicaIdentity } from '../relation.ts';
import { expectEnd, invalid, readCString, readInt32, readUint16, readUint32, readUint8, type Cursor } from './cursor.ts';
import { cString, frameOf, int32, tag, uint16, uint32, uint8 } from './frame.ts';

/** Describes a table before its first change and after each change of it. */
export type RelationMessage = { readonly tag: 'relation'; readonly relation: Relation };

/** Names a type that is not built in, before the Relation that uses it. The catalogue tells more, so it is read past. */
export type TypeMessage = { readonly tag: 'type'; readonly oid: number; readonly schema: string; readonly name: string };

const IN_IDENTITY = 1;

/** The server leaves the name of its own schema out. */
const SYSTEM_SCHEMA = 'pg_catalog';

function readSchemaName(cursor: Cursor): string {
  const name = readCString(cursor);
  return name === '' ? SYSTEM_SCHEMA : name;
}

function schemaName(schema: string): Buffer {
  return cString(schema === SYSTEM_SCHEMA ? '' : schema);
}

/** `R`, oid u32, schema, name, replica identity u8, number of columns u16; for each: flags u8, name, type oid u32, typmod i32. */
export function decodeRelation(cursor: Cursor): RelationMessage {
  const oid = readUint32(cursor);
  const schema = readSchemaName(cursor);
  const name = readCString(cursor);
  const replicaIdentity = readReplicaIdentity(cursor);
  const columns: RelationColumn[] = [];
  for (let left = readUint16(cursor); left > 0; left -= 1) {
    const flags = readUint8(cursor);
    if ((flags & ~IN_IDENTITY) !== 0) throw invalid(cursor, 'has flags that are not known');
    columns.push({
      inIdentity: flags === IN_IDENTITY,
      name: readCString(cursor),
      typeOid: readUint32(cursor),
      typmod: readInt32(cursor),
    });
  }
  expectEnd(cursor);
  return { tag: 'relation', relation: { oid, schema, name, replicaIdentity, columns } };
}

function readReplicaIdentity(cursor: Cursor): ReplicaIdentity {
  const letter = String.fromCharCode(readUint8(cursor));
  switch (letter) {
    case 'd':
    case 'n':
    case 'f':
    case 'i':
      return letter;
    default:
      throw invalid(cursor, 'has a replica identity that is not known');
  }
}

export function encodeRelation(message: RelationMessage): Buffer {
  const { oid, schema, name, replicaIdentity, columns } = message.relation;
  const described = columns.flatMap((column) => [
    uint8(column.inIdentity ? IN_IDENTITY : 0),
    cString(column.name),
    uint32(column.typeOid),
    int32(column.typmod),
  ]);
  return frameOf(tag('R'), uint32(oid), schemaName(schema), cString(name), tag(replicaIdentity), uint16(columns.length), ...described);
}

/** `Y`, oid u32, schema, name. */
export function decodeType(cursor: Cursor): TypeMessage {
  const oid = readUint32(cursor);
  const schema = readSchemaName(cursor);
  const name = readCString(cursor);
  expectEnd(cursor);
  return { tag: 'type', oid, schema, name };
}

export function encodeType(type: TypeMessage): Buffer {
  return frameOf(tag('Y'), uint32(type.oid), schemaName(type.schema), cString(type.name));
}
