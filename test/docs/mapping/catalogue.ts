// The types that docs/types.md tells of: every canonical type with texts at its edges, and the types of Postgres that become them.
import type { CanonicalType } from '#core/value.ts';
import type { PostgresType } from '../../../connectors/lib/postgres/values.ts';
import { typeCases, type TypeCase } from '../../support/canonical-values.ts';

const mood: CanonicalType = { tag: 'enum', labels: ['sad', 'ok'] };

/** Of what no case of the sinks' contract shows; texts that only some sink refuses. */
const further: readonly TypeCase[] = [
  { sourceType: 'oid', type: { tag: 'int', bits: 32, unsigned: true }, edges: ['0', '4294967295'] },
  { sourceType: 'bigint unsigned', type: { tag: 'int', bits: 64, unsigned: true }, edges: ['0', '18446744073709551615'] },
  { sourceType: 'public.mood', type: mood, edges: ['sad', 'ok'] },
  { sourceType: 'public.mood[]', type: { tag: 'array', element: mood }, edges: ['["sad",null]'] },
  {
    sourceType: 'numeric[]',
    type: { tag: 'array', element: { tag: 'decimal', precision: null, scale: null } },
    edges: ['["1.00",null]', '["NaN"]', `["${'9'.repeat(40)}"]`],
  },
  { sourceType: 'jsonb', type: { tag: 'json' }, edges: ['{"": 1}', '"\\ud800"', `{"a": ${'9'.repeat(40)}}`] },
];

/** By type; the edges of a type that stands in both lists are one list. */
export const sinkCases: readonly TypeCase[] = further.reduce<readonly TypeCase[]>((cases, one) => {
  if (!cases.some(({ sourceType }) => sourceType === one.sourceType)) return [...cases, one];
  return cases.map((known) => (known.sourceType === one.sourceType ? { ...known, edges: [...known.edges, ...one.edges] } : known));
}, typeCases);

/** `printed`: a value as the server prints it under our settings. */
export type SourceCase = { readonly name: string; readonly type: PostgresType; readonly printed: string };

const base = (name: string, over: Partial<PostgresType> = {}): PostgresType => ({
  ...{ schema: 'pg_catalog', name, kind: 'b', typmod: -1, delimiter: ',', element: null, base: null, labels: [] },
  ...over,
});

const builtIn = (name: string, printed: string, of: { readonly as?: string; readonly over?: Partial<PostgresType> } = {}): SourceCase => ({
  name,
  printed,
  type: base(of.as ?? name, of.over),
});

const arrayOf = (element: SourceCase, printed: string): SourceCase => ({
  name: `${element.name}[]`,
  printed,
  type: base(`_${element.type.name}`, { schema: element.type.schema, element: element.type, delimiter: element.type.delimiter }),
});

const range = { kind: 'r' } as const;
const multirange = { kind: 'm' } as const;
/** (precision << 16 | scale) + 4: see `decimalType`. */
const NUMERIC_12_2 = ((12 << 16) | 2) + 4;
const CHARACTER_4 = 4 + 4;

const integer = builtIn('integer', '1', { as: 'int4' });
const box = builtIn('box', '(1,1),(0,0)', { over: { delimiter: ';' } });
const numeric = builtIn('numeric', '1.00');

/** The types of the system, such as `xid`, are left out: none of them is meant for a table. */
export const sourceCases: readonly SourceCase[] = [
  builtIn('boolean', 't', { as: 'bool' }),
  builtIn('smallint', '1', { as: 'int2' }),
  integer,
  builtIn('bigint', '1', { as: 'int8' }),
  builtIn('oid', '1'),
  builtIn('real', '1.5', { as: 'float4' }),
  builtIn('double precision', '1e+20', { as: 'float8' }),
  numeric,
  { ...numeric, name: 'numeric(12,2)', type: base('numeric', { typmod: NUMERIC_12_2 }) },
  builtIn('text', 'a'),
  builtIn('character varying', 'a', { as: 'varchar' }),
  builtIn('character(4)', 'ab  ', { as: 'bpchar', over: { typmod: CHARACTER_4 } }),
  builtIn('name', 'a'),
  builtIn('bytea', '\\x00ff'),
  builtIn('date', '2026-01-02'),
  builtIn('time without time zone', '03:04:05', { as: 'time' }),
  builtIn('timestamp without time zone', '2026-01-02 03:04:05.5', { as: 'timestamp' }),
  builtIn('timestamp with time zone', '2026-01-02 03:04:05.5+00', { as: 'timestamptz' }),
  builtIn('interval', 'P1DT2H'),
  builtIn('uuid', '00000000-0000-0000-0000-000000000000'),
  builtIn('json', '{"a":1}'),
  builtIn('jsonb', '{"a": 1}'),
  builtIn('bit(3)', '101', { as: 'bit', over: { typmod: 3 } }),
  builtIn('bit varying', '01', { as: 'varbit' }),
  { name: 'public.mood', printed: 'sad', type: base('mood', { schema: 'public', kind: 'e', labels: ['sad', 'ok'] }) },
  {
    name: 'public.cents',
    printed: '1.00',
    type: base('cents', { schema: 'public', kind: 'd', base: base('numeric', { typmod: NUMERIC_12_2 }) }),
  },
  arrayOf(integer, '{1,NULL}'),
  arrayOf(builtIn('bytea', ''), '{"\\\\x00ff"}'),
  arrayOf(box, '{(1,1),(0,0)}'),
  ...['inet', 'cidr', 'macaddr', 'macaddr8', 'pg_lsn', 'money'].map((name) => builtIn(name, 'its text')),
  builtIn('bpchar', 'a '),
  builtIn('"char"', 'a', { as: 'char' }),
  builtIn('time with time zone', '03:04:05+00', { as: 'timetz' }),
  ...['xml', 'jsonpath', 'point', 'line', 'lseg', 'path', 'polygon', 'circle', 'tsvector', 'tsquery'].map((name) =>
    builtIn(name, 'its text'),
  ),
  box,
  ...['int4range', 'int8range', 'numrange', 'tsrange', 'tstzrange', 'daterange'].map((name) => builtIn(name, 'empty', { over: range })),
  ...['int4multirange', 'int8multirange', 'nummultirange', 'tsmultirange', 'tstzmultirange', 'datemultirange'].map((name) =>
    builtIn(name, '{}', { over: multirange }),
  ),
  { name: 'public.pair', printed: '(1,a)', type: base('pair', { schema: 'public', kind: 'c' }) },
];
