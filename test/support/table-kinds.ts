// Tables with keys and columns of every kind, and rows for them.

/**
 * Each has also a number `n`, which tells its rows apart, and a text `v`. `key`: column, type and value of row number `$`; `more`: columns
 * beside, in the same form.
 */
type Kind = { readonly key: readonly Part[]; readonly more?: readonly Part[]; readonly after?: string };
type Part = readonly [column: string, type: string, value: string];

export const kinds: Readonly<Record<string, Kind>> = {
  words: { key: [['w', 'text COLLATE "sv-SE-x-icu"', "translate(($::bigint * 7919 % 1000003)::text, '0123456789', 'aÅäÖzé ß-B') || $"]] },
  parts: {
    key: [
      ['id', 'int', '$'],
      ['at', 'date', "date '2019-06-01' + $ % 600"],
    ],
    after: 'PARTITION BY RANGE (at)',
  },
  moods: {
    key: [
      ['m', 'mood', '(enum_range(NULL::mood))[1 + $ % 3]'],
      ['at', 'timestamptz', "timestamptz '1999-12-31 23:00+01' + $ * interval '1.000001 hour'"],
    ],
  },
  blobs: { key: [['b', 'bytea', "decode(md5($::text), 'hex')"]] },
  kinds: {
    key: [['id', 'uuid', 'md5($::text)::uuid']],
    more: [
      ['padded', 'char(9)', '$::text'],
      ['flag', 'bool', 'nullif($ % 3, 0) = 1'],
      ['f', 'float8', "CASE $ % 5 WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' ELSE $ / 7.0::float8 END"],
      ['tags', 'text[]', `ARRAY['a,b', NULL, '"' || $ || E'\\\\\\n']`],
      ['moods', 'mood[]', "'{glad,NULL}'::mood[]"],
      ['doc', 'jsonb', `jsonb_build_object('n', $, 'x', 1.50)`],
      ['d', 'date', "CASE $ % 9 WHEN 0 THEN 'infinity' WHEN 1 THEN date '0044-03-15 BC' ELSE date '2020-01-01' + $ END"],
      ['t', 'timetz', "time '23:59:59.999999' AT TIME ZONE 'UTC'"],
      ['i', 'interval', "$ * interval '1 month -1 day 00:00:01.5'"],
      ['bits', 'bit(5)', '($ % 32)::bit(5)'],
      ['addr', 'inet', "inet '10.0.0.0/8' + $"],
      ['amount', 'numeric(12,4)', '$ / 3.0'],
      ['large', 'text', 'CASE WHEN $ % 50 = 0 THEN repeat(md5($::text), 200) END'],
    ],
  },
  many: { key: [['amount', 'numeric', '($ - 1500) * 1.10']] },
};

function definition(name: string): string {
  const { key, more = [], after = '' } = kinds[name] ?? { key: [] };
  const columns = [...key, ...more].map(([column, type]) => `${column} ${type}`);
  return `CREATE TABLE ${name} (${columns.join(', ')}, n int NOT NULL, v text, PRIMARY KEY (${key.map(([column]) => column).join(', ')})) ${after};`;
}

/** Rows number `from` to `to`. */
export function insertion(name: string, from: number, to: number): string {
  const { key, more = [] } = kinds[name] ?? { key: [] };
  const parts = [...key, ...more];
  const values = parts.map(([, , value]) => value.replaceAll('$', 'g'));
  return `INSERT INTO ${name} (${parts.map(([column]) => column).join(', ')}, n, v) SELECT ${values.join(', ')}, g, 'v' || g FROM generate_series(${from}, ${to}) g`;
}

/** All of them, empty. */
export const kindsSchema = `CREATE TYPE mood AS ENUM ('sad', 'glad', 'calm');
  ${Object.keys(kinds).map(definition).join('')}
  CREATE TABLE parts_old PARTITION OF parts FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
  CREATE TABLE parts_new PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO (MAXVALUE) PARTITION BY LIST (id);
  CREATE TABLE parts_new_any PARTITION OF parts_new DEFAULT;`;
