import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { loadConfig, type Loaded } from '../../src/config/load.ts';
import { formatMistakes } from '../../src/config/mistakes.ts';
import { fakeConnectors, goodFile } from './fake-connectors.ts';

const env = { SOURCE_URL: 'postgres://reader:s3cr3t@source/db', PORT: '5433', PASSWORD: '12345' };

function load(text: string, files: Readonly<Record<string, string>> = {}): Promise<Loaded> {
  const readFile = (path: string): string => {
    const content = files[path];
    if (content === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
    return content;
  };
  return loadConfig({ file: 'causeway.yaml', text, surroundings: { env, readFile }, connectors: fakeConnectors });
}

async function mistakes(text: string): Promise<readonly string[]> {
  const loaded = await load(text);
  if (loaded.tag === 'ok') throw new Error('the file was accepted');
  return loaded.mistakes.map(({ line, path, message, mend }) => `${line} ${path}: ${message} | ${mend}`);
}

async function loaded(text: string, files: Readonly<Record<string, string>> = {}): Promise<Loaded & { readonly tag: 'ok' }> {
  const result = await load(text, files);
  if (result.tag === 'mistakes') throw new Error(formatMistakes(result.mistakes));
  return result;
}

test('a whole file is resolved, with defaults, durations in milliseconds and connector parts by their own schema', async () => {
  const { config } = await loaded(goodFile);
  expect(config).toMatchObject({
    control: { kind: 'embedded', config: { path: './data/control.db' } },
    http: { host: '127.0.0.1', port: 0 },
    metrics: { host: '127.0.0.1', port: 9090 },
    stopGraceMs: 25_000,
  });
  expect(config.pipelines[0]).toMatchObject({
    name: 'orders',
    logFormat: 1,
    leaseTtlMs: 15_000,
    source: { config: { url: env.SOURCE_URL } },
    log: { config: { resolved: { path: './data/orders.log', partitions: 4 } } },
    sinks: [{ name: 'warm', kind: 'postgres', parkedKeysMax: 7, freshnessMs: 60_000, config: { kind: 'postgres' } }],
    tables: [
      { pattern: 'public.orders', snapshot: 'initial', target: null },
      { pattern: 'public.order_lines', snapshot: 'initial', target: null },
      { pattern: 'archive.*', snapshot: 'never', target: 'old.*' },
      { pattern: '!archive.scratch', snapshot: 'initial', target: null },
    ],
  });
});

test('every variable that is not set is named, several of one value too', async () => {
  const text = goodFile.replace('${SOURCE_URL}', '${ONE}/${TWO}').replace('./data/control.db', '"${THREE}"');
  const named = (await mistakes(text)).map((line) => /the environment variable (\w+) is not set/.exec(line)?.[1]);
  expect(named).toEqual(['THREE', 'ONE', 'TWO']);
});

test.each([
  ['an unknown key', goodFile.replace('{ listen:', '{ lisen:'), '3 http.lisen: is not a key that is known here | Did you mean `listen`?'],
  [
    'an unknown key of a connector',
    goodFile.replace('      url: $', '      urk: a\n      url: $'),
    '8 pipelines.orders.source.urk: is not a key that is known here | Did you mean `url`?',
  ],
  ['a missing key of a connector', goodFile.replace('path: ./data/control.db', ''), '2 control.path: is missing | The file.'],
  [
    'a missing variable',
    goodFile.replace('SOURCE_URL', 'NO_SUCH'),
    '8 pipelines.orders.source.url: the environment variable NO_SUCH is not set | Set NO_SUCH where the daemon starts.',
  ],
  [
    'a secret file that cannot be read',
    goodFile.replace('${SOURCE_URL}', '${file:/run/secrets/none}'),
    '8 pipelines.orders.source.url: cannot read the file /run/secrets/none (ENOENT) | Make the file readable for this process, or correct its path.',
  ],
  [
    'an unknown kind',
    goodFile.replace('kind: embedded, path: ./data/c', 'kind: kafka, path: ./data/c'),
    '2 control.kind: there is no control of the kind kafka | Known here: embedded, postgres.',
  ],
  [
    'a wrong type',
    goodFile.replace('parkedKeysMax: 7', 'parkedKeysMax: many'),
    '19 pipelines.orders.sinks.warm.deadLetter.parkedKeysMax: must be a number |',
  ],
  ['a duration without unit', `${goodFile}stop: { grace: "25" }\n`, '21 stop.grace: is not a duration | Write a number with its unit'],
  [
    'a lease outside its bounds',
    goodFile.replace('    sinks:', '    lease: { ttl: 100ms }\n    sinks:'),
    '15 pipelines.orders.lease.ttl: must be between 1s and 5m |',
  ],
  ['an unknown version', goodFile.replace('version: 1', 'version: 2'), '1 version: must be 1 |'],
  [
    'a format of a newer release',
    goodFile.replace('orders.log }', 'orders.log, format: 2 }'),
    '14 pipelines.orders.log.format: must be 1 | The format in which records are written: ',
  ],
  ['a bad pipeline name', goodFile.replace('  orders:', '  Orders-1:'), '5 pipelines.Orders-1: is not a usable name'],
  ['a bad table', goodFile.replace('- public.orders\n', '- orders\n'), '10 pipelines.orders.source.tables[0]: is not a table pattern |'],
  [
    'a bad word in a table entry',
    goodFile.replace('never', 'nevr'),
    '12 pipelines.orders.source.tables[2].snapshot: must be initial or never |',
  ],
  [
    'a second entry of one table',
    goodFile.replace('order_lines', 'orders'),
    '11 pipelines.orders.source.tables[1]: names public.orders a second time | Remove one of the two entries.',
  ],
  [
    'nothing but exclusions',
    goodFile.replace(/tables:\n(?: {8}.*\n)+/, 'tables: ["!public.a"]\n'),
    'names only exclusions | Name at least one table to capture.',
  ],
  ['broken syntax', 'a: [', '1 : is not valid YAML'],
  [
    'a key that stands twice',
    goodFile.replace('version: 1\n', 'version: 1\nversion: 1\n'),
    '2 : is not valid YAML: Map keys must be unique',
  ],
  ['nothing at all', '', '1 : holds no configuration | `causeway config init` writes an example.'],
  ['an alias of itself', 'a: &a [*a]', 'unfolds into too many or too deep values'],
])('%s is named with its line, its path and its mend', async (_, text, expected) => {
  expect((await mistakes(text)).join('\n')).toContain(expected);
});

test('what is not YAML is named by its place alone: what stands there can be a secret', async () => {
  for (const text of ['a: {b: c\nurl: "hunter2"\nd: ]', 'a: "\\hunter2"', '%hunter2\na: b', 'a: @hunter2']) {
    const found = await mistakes(text);
    expect(found[0]).toContain('is not valid YAML');
    expect(found.join('\n')).not.toContain('hunter2');
  }
});

test('a kind that came from a reference is not told', async () => {
  const found = await mistakes(goodFile.replace('kind: embedded, path: ./data/control.db', 'kind: "${SOURCE_URL}"'));
  expect(found).toEqual(['2 control.kind: there is no control of this kind | Known here: embedded, postgres.']);
});

test('every mistake is reported at once, in the order of the file', async () => {
  const found = await mistakes(
    goodFile.replace('{ listen:', '{ lisen:').replace('never', 'nevr').replace('parkedKeysMax: 7', 'parkedKeysMax: 0'),
  );
  expect(found.map((text) => text.split(' ')[0])).toEqual(['3', '12', '19']);
});

const second = (change: (text: string) => string): string => {
  const [, body = ''] = goodFile.split('  orders:\n');
  return goodFile + change(`  billing:\n${body.replace('orders.log', 'billing.log').replace('@warm/db', '@warm/other')}`);
};

test.each([
  [
    'a slot',
    second((text) => text.replace('      tables:', '      slot: causeway_orders\n      tables:')),
    'source.slot: shares the slot causeway_orders with the pipeline orders',
  ],
  [
    'a publication',
    second((text) => text.replace('      tables:', '      publication: causeway_orders\n      tables:')),
    'source.publication: shares the publication',
  ],
  ['a log file', second((text) => text.replace('billing.log', './orders.log')), 'log.path: shares the file'],
  [
    'a target table',
    second((text) => text.replace('@warm/other', '@warm/db')),
    'writes public.orders of the same database as orders.sinks.warm',
  ],
])('two pipelines may not share %s', async (_, text, expected) => {
  expect((await mistakes(text)).join('\n')).toContain(expected);
});

const inKafka = (text: string, log: string): string => text.replace(/log: \{ kind: embedded[^}]*\}/, `log: { kind: kafka, ${log} }`);

test('two pipelines may not share a topic of the same brokers', async () => {
  const both = (other: string): string => {
    const [first = '', second_ = ''] = second((text) => inKafka(text, other)).split('  billing:\n');
    return `${inKafka(first, "brokers: ['a:9092', 'b:9092'], topic: t")}  billing:\n${second_}`;
  };
  const shared = (await mistakes(both("brokers: ['b:9092'], topic: t"))).join('\n');
  expect(shared).toContain('log.topic: shares the topic t with the pipeline orders');
  await loaded(both("brokers: ['c:9092'], topic: t"));
  await loaded(both("brokers: ['a:9092'], topic: t2"));
});

test('a log may not take longer to answer than the lease holds', async () => {
  const slow = (over: string, ttl: string): string =>
    inKafka(goodFile, `brokers: ['a:9092'], topic: t${over}`).replace('  orders:\n', `  orders:\n    lease: { ttl: ${ttl} }\n`);
  expect((await mistakes(slow('', '10s'))).join()).toContain('log.requestTimeout: is 10s, no less than the time of the lease');
  expect((await mistakes(slow(', requestTimeout: 20s', '15s'))).join()).toContain('log.requestTimeout: is 20s');
  await loaded(slow(', requestTimeout: 2s', '3s'));
});

test('a sink that is the captured database itself is refused, unless its tables are others', async () => {
  const self = goodFile
    .replace(/url: \$\{SOURCE_URL\}/, 'url: postgres://u@warm/db')
    .replace(/url: postgres:\/\/\S*@warm\/db/, 'url: postgres://u@warm:5432/db');
  expect((await mistakes(self)).join('\n')).toContain('sinks.warm: writes public.orders of the database that is captured, over itself');
});

test('a control store in a database that is captured or written is refused', async () => {
  const inside = (url: string): string =>
    goodFile.replace('{ kind: embedded, path: ./data/control.db }', `{ kind: postgres, url: '${url}' }`);
  expect((await mistakes(inside('postgres://c@warm:5432/db'))).join('\n')).toContain(
    'control: is in the database of the sink warm of orders',
  );
  const source = inside('postgres://c@hot/db').replace('${SOURCE_URL}', 'postgres://u@hot/db');
  expect((await mistakes(source)).join('\n')).toContain('control: is in the database of the source of orders');
  expect((await loaded(inside('postgres://c@warm/control'))).config.control.kind).toBe('postgres');
});

test('two pipelines that share nothing are accepted', async () => {
  expect((await loaded(second((text) => text))).config.pipelines).toHaveLength(2);
});

test('two tables may not go to one target', async () => {
  const text = goodFile.replace('- public.order_lines', '- { name: public.order_lines, target: public.orders }');
  expect((await mistakes(text)).join('\n')).toContain('public.orders and public.order_lines go to one target, public.orders');
});

test('a number may come from the environment, and digits stay text where text is wanted', async () => {
  const text = goodFile
    .replace('      tables:', '      port: ${PORT}\n      tables:')
    .replace('hunter2@warm/db', 'x@warm/db\n        password: ${PASSWORD}');
  const { config } = await loaded(text);
  expect(config.pipelines[0]?.source.config).toMatchObject({ port: 5433 });
  expect(config.pipelines[0]?.sinks[0]?.config).toMatchObject({ password: '12345' });
});

test('a secret file loses its last line break and nothing else', async () => {
  const { config } = await loaded(goodFile.replace('${SOURCE_URL}', '${file:/s}'), { '/s': ' a b \n' });
  expect(config.pipelines[0]?.source.config).toEqual({ url: ' a b ' });
  expect(config.secretFiles).toEqual(['/s']);
});

test('references are expanded in values only, and a doubled dollar keeps one', async () => {
  const { config } = await loaded(goodFile.replace('${SOURCE_URL}', () => '"a$${SOURCE_URL}b"'));
  expect(config.pipelines[0]?.source.config).toEqual({ url: 'a${SOURCE_URL}b' });
  expect((await mistakes(goodFile.replace('  orders:', '  ${SOURCE_URL}:'))).join()).not.toContain('s3cr3t');
});

test('no secret is printed: neither what came from outside, nor a password in the file', async () => {
  const text = goodFile
    .replace('hunter2@warm/db', 'hunter2@warm/db?password=hunter3\n        password: hunter4')
    .replace('${SOURCE_URL}', '${file:/s}');
  const { printable } = await loaded(text, { '/s': 'postgres://u:hunter5@h/d' });
  const printed = JSON.stringify(printable);
  expect(printed).not.toMatch(/hunter\d/);
  expect(printed).toContain('${file:/s}');
  expect(printed).toContain('postgres://writer:***@warm/db?password=***');
  expect(printable).toMatchObject({ stop: { grace: '25s' }, pipelines: { orders: { lease: { ttl: '15s' }, log: { partitions: 4 } } } });
});

test('what is printed is a file that is accepted again', async () => {
  const { printable, config } = await loaded(goodFile.replace('writer:hunter2', 'writer'));
  const again = await loaded(JSON.stringify(printable));
  expect({ ...again.config, pipelines: [] }).toEqual({ ...config, pipelines: [] });
  expect(again.config.pipelines[0]?.sinks[0]?.parkedKeysMax).toBe(7);
});

test('whatever stands in the file, the answer is a configuration or named mistakes', async () => {
  const lines = goodFile.split('\n');
  const mutated = fc
    .tuple(fc.nat(lines.length - 1), fc.nat(lines.length - 1), fc.string({ maxLength: 12, unit: 'binary' }))
    .map(([drop, change, text]) =>
      lines.flatMap((line, index) => (index === drop ? [] : index === change ? [`${line.slice(0, 6)}${text}`] : [line])).join('\n'),
    );
  const anything = fc.oneof(mutated, fc.string({ unit: 'binary', maxLength: 200 }), fc.json().map(String));
  await fc.assert(
    fc.asyncProperty(anything, async (text) => {
      const result = await load(text);
      if (result.tag === 'ok') return;
      expect(result.mistakes.length).toBeGreaterThan(0);
      for (const { line, message, mend } of result.mistakes) expect([line > 0, message !== '', mend !== '']).toEqual([true, true, true]);
    }),
    { numRuns: 300 },
  );
});
