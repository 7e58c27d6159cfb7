// The value mapping against real servers: what the server prints, made canonical and turned back, is the same value and the same text.
import fc from 'fast-check';
import pg from 'pg';
import { expect, test } from 'vitest';
import { floatText } from '../../connectors/lib/number/float-text.ts';
import { startupOptions, valueSettings } from '../../connectors/lib/postgres/session-settings.ts';
import { canonicalType, fromCanonical, toCanonical, type PostgresType } from '../../connectors/lib/postgres/values.ts';
import { typeLookup, typesQuery, type TypeRow } from '../../connectors/lib/postgres/values-catalogue.ts';
import { sourceCases } from '../docs/mapping/catalogue.ts';
import { canonicalValues, typeCases } from '../support/canonical-values.ts';
import { describePostgres, TestDatabase } from '../support/postgres.ts';
import { seededRandom } from '../support/random.ts';

/** Types by their names, each with literals; all that PostgreSQL 14 has built in, and one of each kind of made type. */
const edges: Readonly<Record<string, readonly string[]>> = {
  boolean: ['t', 'f'],
  smallint: ['-32768', '32767'],
  integer: ['-2147483648', '2147483647'],
  bigint: ['-9223372036854775808', '9223372036854775807'],
  oid: ['0', '4294967295'],
  real: ['0.1', '-0', 'NaN', 'Infinity', '-Infinity', '3.4028235e38', '1e-45', '16777217'],
  'double precision': ['0.1', '-0', 'NaN', 'Infinity', '-Infinity', '1.7976931348623157e308', '5e-324', '0.30000000000000004'],
  numeric: ['0', '-0.00', '1.0', '1.00', 'NaN', 'Infinity', '-Infinity', `1${'0'.repeat(500)}.${'0'.repeat(400)}1`],
  'numeric(10,2)': ['12.5', 'NaN'],
  money: ['1', '-1234567.89', '92233720368547758.07'],
  text: ['', ' ', 'NULL', '\\', '"', "it's", 'a\nb', 'ünïcödé 🦊', '\u{10ffff}'],
  'character varying(5)': ['', 'abc  '],
  'character(5)': ['', 'ab', 'abcde'],
  bpchar: ['', 'ab  '],
  '"char"': ['', 'a'],
  name: ['', 'a"b'],
  bytea: ['', '\\x00ff', '\\xdeadbeef'],
  date: ['2026-01-02', '0044-03-15 BC', '4713-01-01 BC', '5874897-12-31', 'infinity', '-infinity'],
  time: ['00:00', '23:59:59.999999', '24:00:00'],
  'time(2)': ['03:04:05.678'],
  timetz: ['00:00+14', '23:59:59.999999-15:59:59', '03:04:05.1+05:30'],
  timestamp: [
    '2026-01-02 03:04:05.123456',
    '4713-01-01 00:00:00 BC',
    '294276-12-31 23:59:59.999999',
    'infinity',
    '-infinity',
    '0001-01-01',
  ],
  timestamptz: ['2026-01-02 03:04:05.123456+09', '4713-01-01 00:00:00+00 BC', '294276-12-31 23:59:59.999999+00', 'infinity', '-infinity'],
  interval: ['0', '1 year -2 months 3 days -04:05:06.789', '-0.5 seconds', '178000000 years', '-1 days +02:03:04', '1 mon'],
  uuid: ['00000000-0000-0000-0000-000000000000', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'],
  json: ['{"b":1,  "a":12345678901234567890, "a":null}', 'null', '"\\u0000"', '[]'],
  jsonb: ['{"b":1,  "a":12345678901234567890.10, "a":null}', 'null', '"é"', '[]'],
  jsonpath: ['$.a[*] ? (@ > 1)'],
  xml: ['<a b="c">d</a>', 'text & more'.replace('&', '&amp;')],
  'bit(3)': ['101'],
  'bit varying': ['', '0101'],
  inet: ['10.0.0.1', '10.0.0.0/8', '::ffff:1.2.3.4', 'fe80::1/64'],
  cidr: ['10.0.0.0/8', '::/0'],
  macaddr: ['08:00:2b:01:02:03'],
  macaddr8: ['08:00:2b:01:02:03:04:05'],
  point: ['(0.1,-0)', '(NaN,Infinity)'],
  line: ['{1,2,3}'],
  lseg: ['[(0,0),(1,0.1)]'],
  box: ['(1,1),(0,0.1)'],
  path: ['[(0,0),(1,1)]', '((0,0),(1,1))'],
  polygon: ['((0,0),(1,1),(2,0))'],
  circle: ['<(0,0),0.1>'],
  tsvector: ["'a':1A 'it''s':2 'b\\\\':3"],
  tsquery: ["'a' & !('b' | 'c':*)"],
  pg_lsn: ['16/B374D848', '0/0'],
  pg_snapshot: ['10:20:10,14'],
  xid8: ['18446744073709551615'],
  tid: ['(0,1)'],
  int4range: ['empty', '[1,5)', '(,5)', '(,)'],
  numrange: ['[1.0,2.00]'],
  tstzrange: ['["2026-01-02 03:04:05+00",infinity)', '(-infinity,"0044-03-15 00:00:00+00 BC"]'],
  int4multirange: ['{}', '{[1,3),[5,7)}'],
  int2vector: ['', '1 2 3'],
  regclass: ['pg_class'],
  'made.mood': ['sad', 'so so', "it's", 'a,"b"', '{}'],
  'made.cents': ['0', '12.50'],
  'made.tags': ['{a,NULL,"NULL"}'],
  'made.pair': ['(1,)', '(,"a, ""b"" (c)")', '(,)', '(1,"")'],
  'made.floatrange': ['[0.1,0.30000000000000004)'],
  'integer[]': ['{}', '{1,NULL,3}', '{{1,2},{3,4}}', '{{{1}},{{2}}}', '[0:1]={1,2}', '[-1:0][5:6]={{1,2},{3,NULL}}'],
  'boolean[]': ['{t,f,NULL}'],
  'text[]': ['{}', '{"",NULL,"NULL","null"," a ","{","}",",","\\"","\\\\","a\nb","🦊"}', '{{a},{b}}', '[2:2]={NULL}'],
  'numeric(5,1)[]': ['{1.5,NaN,NULL}'],
  'bytea[]': ['{"\\\\x00ff",NULL,""}'],
  'timestamptz[]': ['{"2026-01-02 03:04:05+00",infinity,NULL,"0044-03-15 00:00:00+00 BC"}'],
  'timestamp[]': ['{"2026-01-02 03:04:05",-infinity}'],
  'interval[]': ['{"1 day",NULL}'],
  'jsonb[]': ['{"{\\"a\\": \\"b,c\\"}",NULL}'],
  'box[]': ['{(1,1),(0,0);(2,2),(1,1)}', '{NULL;(2,2),(1,1)}'],
  'point[]': ['{"(1,2)",NULL}'],
  'int4range[]': ['{"[1,2)",empty,NULL}'],
  'oidvector[]': ['{"1 2","3"}'],
  'made.mood[]': ['{sad,"so so","a,\\"b\\"","{}",NULL}'],
  'made.pair[]': ['{"(1,\\"a b\\")",NULL}'],
  'made.cents[]': ['{1.00,NULL}'],
  'made.tags[]': ['{"{a,\\"b c\\"}","{NULL}",NULL}'],
  'made.corner[]': ['{(1,1),(0,0);(2,2),(1,1)}'],
};

const madeTypes = `
  CREATE SCHEMA made;
  CREATE TYPE made.mood AS ENUM ('sad', 'so so', 'it''s', 'a,"b"', '{}');
  CREATE DOMAIN made.cents AS numeric(6,2) CHECK (VALUE >= 0);
  CREATE DOMAIN made.tags AS text[];
  CREATE TYPE made.pair AS (a int, b text);
  CREATE TYPE made.floatrange AS RANGE (subtype = float8);
  CREATE DOMAIN made.corner AS box`;

/** Everything as text: the driver's own parsers are not under test. */
const asText = { getTypeParser: () => (text: string | Buffer) => String(text) };

describePostgres('the value mapping', (major) => {
  async function session(): Promise<{ client: pg.Client; [Symbol.asyncDispose](): Promise<void> }> {
    const database = await TestDatabase.create(major);
    const client = new pg.Client({ connectionString: database.url, options: startupOptions(valueSettings), types: asText });
    await client.connect();
    await client.query(madeTypes);
    return {
      client,
      async [Symbol.asyncDispose]() {
        await client.end();
        await database.close();
      },
    };
  }

  async function mapping(client: pg.Client, name: string): Promise<ReturnType<typeof canonicalType>> {
    return canonicalType(await typeNamed(client, name));
  }

  async function typeNamed(client: pg.Client, name: string): Promise<PostgresType> {
    // The catalogue parses a name with its modifiers for us: as the type of a column.
    await client.query(`CREATE TEMPORARY TABLE typed (value ${name})`);
    const { rows } = await client.query<{ oid: string; typmod: string }>(
      `SELECT atttypid::text AS oid, atttypmod::text AS typmod FROM pg_attribute WHERE attrelid = 'pg_temp.typed'::regclass AND attnum = 1`,
    );
    await client.query('DROP TABLE pg_temp.typed');
    const found = rows[0];
    if (found === undefined) throw new Error(`no type ${name}`);
    const types = await client.query<TypeRow>(typesQuery, [`{${found.oid}}`]);
    return typeLookup(types.rows)(Number(found.oid), Number(found.typmod));
  }

  test('every built-in type comes back as the same value and the same text', async () => {
    await using at = await session();
    const { client } = at;
    for (const [name, literals] of Object.entries(edges)) {
      const type = await mapping(client, name);
      await client.query(`CREATE TEMPORARY TABLE kept (n int, value ${name})`);
      for (const [n, literal] of literals.entries()) {
        await client.query(`INSERT INTO pg_temp.kept VALUES ($1, ($2::text)::${name})`, [n, literal]);
        const printed = (await client.query<{ value: string }>(`SELECT value FROM pg_temp.kept WHERE n = $1`, [n])).rows[0]?.value ?? '';
        const back = fromCanonical(type)(toCanonical(type)(printed));
        const { rows } = await client.query<{ value: string; same: string }>(
          `WITH sent AS (SELECT ($2::text)::${name} AS value)
           SELECT sent.value, (record_image_eq(ROW(sent.value), ROW(kept.value)))::text AS same FROM sent, pg_temp.kept WHERE n = $1`,
          [n, back],
        );
        expect({ name, literal, ...rows[0] }).toEqual({ name, literal, value: printed, same: 'true' });
      }
      await client.query('DROP TABLE pg_temp.kept');
    }
  });

  test('a float that was read from another store has the text that the server prints', async () => {
    await using at = await session();
    const { client } = at;
    const random = seededRandom(1);
    const anyBits = new DataView(new ArrayBuffer(8));
    const anyDouble = (): number => {
      anyBits.setUint32(0, random() * 2 ** 32);
      anyBits.setUint32(4, random() * 2 ** 32);
      return anyBits.getFloat64(0);
    };
    const whole = (bits: number): number => Math.floor(random() * 2 ** bits);
    // Texts that are half-way between two numbers are among whole numbers beyond the digits of the type, and among small binary fractions.
    const values = Array.from({ length: 20_000 }, () => [
      anyDouble(),
      whole(20) * 2 ** whole(7),
      whole(53) * 2 ** whole(7),
      whole(22) / 8,
    ]).flat();
    const finite = values.filter((value) => Number.isFinite(value));
    const { rows } = await client.query<{ double: string; single: string | null }>(
      `SELECT v::text AS double, CASE WHEN abs(v) BETWEEN 1e-37 AND 1e38 THEN v::float4::text END AS single FROM unnest($1::float8[]) v`,
      [finite],
    );
    const wrong = rows.flatMap(({ double, single }, index) => {
      const value = finite[index] ?? 0;
      const ours = { double: floatText(value, 64), single: single === null ? null : floatText(Math.fround(value), 32) };
      return ours.double === double && ours.single === single ? [] : [{ value, double, single, ours }];
    });
    expect(wrong).toEqual([]);
    expect(rows.length).toBeGreaterThan(70_000);
  });

  test('no base type of the server is left out above, but pseudo types and those of the system', async () => {
    await using at = await session();
    const { rows } = await at.client.query<{ name: string }>(
      `SELECT format_type(oid, NULL) AS name FROM pg_type
       WHERE typtype IN ('b', 'r', 'm') AND typnamespace = 'pg_catalog'::regnamespace AND typoutput <> 'array_out'::regproc ORDER BY 1`,
    );
    const tested = new Set(Object.keys(edges).map((name) => name.replace(/\(\d+(?:,\d+)?\)/, '')));
    const missing = rows.map((row) => row.name).filter((name) => !tested.has(plainName(name)) && !isSystemType(name));
    expect(missing).toEqual([]);
  });

  test('docs/types.md tells of every type of the server, as it is there', async () => {
    await using at = await session();
    const { client } = at;
    await client.query(`CREATE TYPE public.mood AS ENUM ('sad', 'ok'); CREATE DOMAIN public.cents AS numeric(12,2);
      CREATE TYPE public.pair AS (a int, b text)`);
    for (const { name, type } of sourceCases) expect({ name, type: await typeNamed(client, name) }).toEqual({ name, type });
    const told = new Set(sourceCases.map(({ name }) => plainName(name.replace(/\(.*\)/, ''))));
    const untold = Object.keys(edges).map((name) => name.replace(/\(\d+(?:,\d+)?\)/, ''));
    expect(
      untold.filter((name) => !told.has(plainName(name)) && !/^made\.|\[\]$|^(int2vector|regclass|tid|pg_snapshot|xid8)$/.test(name)),
    ).toEqual([]);
  });

  test.each(typeCases)('any $sourceType is printed as its canonical text', async ({ sourceType, type, edges: texts }) => {
    await using at = await session();
    expect(await mapping(at.client, sourceType)).toEqual(type);
    const printed = async (canonicals: readonly string[]): Promise<string[]> => {
      const { rows } = await at.client.query<{ value: string }>(
        `SELECT (sent.text)::${sourceType} AS value FROM unnest($1::text[]) WITH ORDINALITY AS sent(text, n) ORDER BY n`,
        [canonicals.map(fromCanonical(type))],
      );
      return rows.map((row) => toCanonical(type)(row.value));
    };
    const check = async (canonicals: readonly string[]): Promise<void> => {
      // Of two shortest texts for the same bits the server and the generator may choose differently; both must stay what they are.
      const expected = type.tag === 'float' ? await printed(canonicals) : canonicals;
      expect(await printed(expected)).toEqual(expected);
    };
    expect(await printed(texts)).toEqual(texts);
    // Generated texts have no fixed width.
    if (sourceType === 'character(4)') return;
    const generated = fc.array(canonicalValues(type), { minLength: 50, maxLength: 50 });
    await fc.assert(fc.asyncProperty(generated, check), { numRuns: 4 });
  });
});

const aliases: Readonly<Record<string, string>> = {
  'timestamp without time zone': 'timestamp',
  'timestamp with time zone': 'timestamptz',
  'time without time zone': 'time',
  'time with time zone': 'timetz',
};

function plainName(name: string): string {
  return aliases[name] ?? name;
}

/** Identifiers of the running server, statistics of the planner, and ranges that are printed like those tested. */
function isSystemType(name: string): boolean {
  return (
    /^(reg|pg_(node_tree|ndistinct|dependencies|mcv_list|brin_|ddl_command)|xid$|cid$|aclitem|refcursor|gtsvector|txid_snapshot)/.test(
      name,
    ) ||
    /^(int8|date|ts|num|tstz|int4)(multi)?range$/.test(name) ||
    name === 'oidvector'
  );
}
