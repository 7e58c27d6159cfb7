// What real servers cannot be made to send at will: damaged values, frames out of order, a catalogue that says no.
import { describe, expect, test } from 'vitest';
import type { SourceMessage } from '#core/event.ts';
import type { EpochMicros } from '#core/position.ts';
import { tableIdOf, tableSchema, type TableId } from '#core/schema.ts';
import type { CanonicalType, Value } from '#core/value.ts';
import { Assembler } from '../../../connectors/source-postgres/assemble.ts';
import { formatLsn, lsnOf, lsnOfPosition, parseLsn, positionOfLsn, type Lsn } from '../../../connectors/source-postgres/lsn.ts';
import type { PgoutputMessage } from '../../../connectors/source-postgres/pgoutput/decode.ts';
import type { Relation, RelationResolution, RelationResolver } from '../../../connectors/source-postgres/relation.ts';

const at = (value: number): Lsn => BigInt(value) as Lsn;
const tuple = (values: readonly Value[], unreadable: readonly number[] = []) => ({ values: [...values], unreadable });

const relation: Relation = {
  oid: 1,
  schema: 'public',
  name: 't',
  replicaIdentity: 'f',
  columns: ['id', 'v', 'at'].map((name) => ({ name, inIdentity: true, typeOid: 25, typmod: -1 })),
};

function schemaOf(described: Relation) {
  const types: readonly CanonicalType[] = [{ tag: 'text' }, { tag: 'text' }, { tag: 'timestamptz' }];
  const columns = described.columns.map((column, index) => ({
    name: column.name,
    type: types[index] ?? { tag: 'text' as const },
    sourceType: 'x',
    nullable: true,
    constantDefault: null,
  }));
  return tableSchema({ table: tableIdOf(described.schema, described.name), columns, key: [0] });
}

class Resolver implements RelationResolver {
  readonly stops: TableId[] = [];
  answer: (relation: Relation) => RelationResolution = (described) => ({ tag: 'captured', schema: schemaOf(described) });

  resolve(described: Relation): Promise<RelationResolution> {
    return Promise.resolve(this.answer(described));
  }

  stopped(table: TableId): void {
    this.stops.push(table);
  }
}

const begin: PgoutputMessage = { tag: 'begin', commitLsn: at(100), committedAt: 0 as EpochMicros, xid: 7 };
const commit: PgoutputMessage = { tag: 'commit', commitLsn: at(100), endLsn: at(120), committedAt: 0 as EpochMicros };

async function assembled(messages: readonly PgoutputMessage[], resolver = new Resolver()): Promise<SourceMessage[]> {
  const assembler = new Assembler(resolver);
  const out: SourceMessage[] = [];
  for (const message of messages) {
    if (message.tag === 'relation') await assembler.describe(message.relation, out, new AbortController().signal);
    else assembler.add(message, at(50), out);
  }
  return out;
}

async function changesOf(...messages: PgoutputMessage[]): Promise<unknown[]> {
  const out = await assembled([begin, { tag: 'relation', relation }, ...messages, commit]);
  return out.flatMap((message) => {
    if (message.tag !== 'change') return [];
    const { tag: _tag, schema: _schema, change: _change, ...rest } = message;
    return [rest];
  });
}

const old = (values: readonly Value[], unreadable: readonly number[] = []) => ({
  kind: 'whole' as const,
  tuple: tuple(values, unreadable),
});

describe('a row that cannot be read', () => {
  test('keeps its key and names the column', async () => {
    expect(await changesOf({ tag: 'insert', relation: 1, row: tuple(['1', null, null], [1]) })).toEqual([
      {
        op: 'unreadable',
        key: '["public.t","1"]',
        reason: 'column v: the bytes are no text in the encoding of the database, or more than 256 MiB',
      },
    ]);
    const [change] = await changesOf({ tag: 'insert', relation: 1, row: tuple(['1', 'x', '02/01/2026 secret']) });
    expect(change).toMatchObject({ op: 'unreadable', reason: expect.stringMatching(/^column at: (?!.*secret)/) as string });
  });

  test('whose key changed also deletes the old key', async () => {
    expect(await changesOf({ tag: 'update', relation: 1, old: old(['1', 'x', null]), row: tuple(['2', null, null], [1]) })).toEqual([
      { op: 'delete', key: '["public.t","1"]' },
      {
        op: 'unreadable',
        key: '["public.t","2"]',
        reason: 'column v: the bytes are no text in the encoding of the database, or more than 256 MiB',
      },
    ]);
  });

  test('is one whose absent column would be filled from bytes that cannot be read', async () => {
    expect(await changesOf({ tag: 'update', relation: 1, old: old(['1', null, null], [1]), row: tuple(['1', undefined, null]) })).toEqual([
      {
        op: 'unreadable',
        key: '["public.t","1"]',
        reason: 'column v: the bytes are no text in the encoding of the database, or more than 256 MiB',
      },
    ]);
  });

  test('in its old image only is read', async () => {
    expect(await changesOf({ tag: 'update', relation: 1, old: old(['1', null, 'nonsense'], [1]), row: tuple(['1', 'x', null]) })).toEqual([
      { op: 'update', key: '["public.t","1"]', row: ['1', 'x', null], oldKey: null },
    ]);
  });

  test('in its key stops its table, and no other change of it is shown', async () => {
    const resolver = new Resolver();
    const messages: PgoutputMessage[] = [
      { tag: 'insert', relation: 1, row: tuple([null, 'x', null], [0]) },
      { tag: 'insert', relation: 1, row: tuple(['2', 'x', null]) },
      { tag: 'relation', relation },
      { tag: 'insert', relation: 1, row: tuple(['3', 'x', null]) },
      { tag: 'truncate', relations: [1], cascade: false, restartIdentity: false },
    ];
    const out = await assembled([begin, { tag: 'relation', relation }, ...messages, commit], resolver);
    // What the changes show is dropped, and it is said where.
    expect(out.map((message) => message.tag)).toEqual(['begin', 'schema', 'stopped', 'commit']);
    expect(resolver.stops).toEqual(['public.t']);
  });
});

test('an old row is filled in before it is made canonical, once', async () => {
  const before = '2026-01-02 03:04:05+00';
  expect(await changesOf({ tag: 'update', relation: 1, old: old(['1', 'x', before]), row: tuple(['1', 'y', undefined]) })).toEqual([
    { op: 'update', key: '["public.t","1"]', row: ['1', 'y', '2026-01-02T03:04:05Z'], oldKey: null },
  ]);
});

test('tables that are ignored or stopped drop their changes', async () => {
  const stopped = { tag: 'stopped', table: tableIdOf('public', 't'), reason: 'renamed' } as const;
  for (const answer of [{ tag: 'ignored' } as const, stopped]) {
    const resolver = new Resolver();
    resolver.answer = () => answer;
    const out = await assembled(
      [begin, { tag: 'relation', relation }, { tag: 'insert', relation: 1, row: tuple(['1']) }, commit],
      resolver,
    );
    expect(out.filter((message) => message.tag === 'stopped')).toEqual(answer === stopped ? [stopped] : []);
    expect(out.map((message) => message.tag).filter((tag) => tag !== 'stopped')).toEqual(['begin', 'commit']);
  }
});

test('an error of the catalogue ends the stream', async () => {
  const resolver = new Resolver();
  resolver.answer = () => {
    throw new Error('no catalogue');
  };
  await expect(assembled([begin, { tag: 'relation', relation }], resolver)).rejects.toThrow('no catalogue');
});

test.each<[string, readonly PgoutputMessage[]]>([
  [
    'a change outside of a transaction',
    [
      { tag: 'relation', relation },
      { tag: 'insert', relation: 1, row: tuple(['1', null, null]) },
    ],
  ],
  ['a begin inside a transaction', [begin, begin]],
  ['a commit without a begin', [commit]],
  ['the commit of another transaction', [begin, { ...commit, commitLsn: at(101) }]],
  ['a table that was not described', [begin, { tag: 'insert', relation: 2, row: tuple(['1']) }]],
  ['a truncate of such a table', [begin, { tag: 'truncate', relations: [2], cascade: false, restartIdentity: false }]],
  ['a row with fewer columns', [begin, { tag: 'relation', relation }, { tag: 'insert', relation: 1, row: tuple(['1']) }]],
  [
    'an old row with fewer columns',
    [begin, { tag: 'relation', relation }, { tag: 'update', relation: 1, old: old(['1']), row: tuple(['1', 'x', null]) }],
  ],
  ['an origin behind a change', [begin, { tag: 'relation', relation }, { tag: 'origin', originLsn: at(1), name: 'o' }]],
])('%s is source_stream_invalid', async (_name, messages) => {
  await expect(assembled(messages)).rejects.toMatchObject({ code: 'source_stream_invalid' });
});

test('LSNs are read and written as the server does', () => {
  expect(parseLsn('16/B374D848')).toBe(0x16b374d848n);
  expect(parseLsn('ffffffff/FFFFFFFF')).toBe(0xffff_ffff_ffff_ffffn);
  for (const text of ['', '/', '1', '1/', '1/2/3', '123456789/0', 'x/1', ' 1/1', '-1/1']) expect(parseLsn(text)).toBe(null);
  expect(formatLsn(0x1_0000_000an)).toBe('1/A');
  expect(lsnOfPosition(positionOfLsn(0x16b374d848n))).toBe(0x16b374d848n);
  expect(() => lsnOfPosition('mysql-bin.000001:4' as never)).toThrow(expect.objectContaining({ code: 'source_stream_invalid' }));
  expect([lsnOf(-1n), lsnOf(1n << 64n), lsnOf(5n)]).toEqual([null, null, 5n]);
});
