import { expect, test } from 'vitest';
import type { TableId } from '#core/schema.ts';
import type { Sender } from '../../../connectors/sink-dynamodb/client.ts';
import { configSchema } from '../../../connectors/sink-dynamodb/config.ts';
import { shapeOf } from '../../../connectors/sink-dynamodb/shape.ts';
import { createCommand, provisionTable, wantedOwnTable, wantedTable, type WantedTable } from '../../../connectors/sink-dynamodb/tables.ts';
import { contractColumn, contractSchema } from '../../contract/sink.ts';
import { realRuntime } from '../../support/test-runtime.ts';

const never = new AbortController().signal;
const config = configSchema.parse({ kind: 'dynamodb', region: 'eu-west-1', provision: 'create', endpoint: 'http://127.0.0.1:8000' });
const text = { tag: 'text' } as const;

type Call = { readonly name: string; readonly input: Readonly<Record<string, unknown>> };

/** What `provision: create` sends to change something. */
async function sentFor(wanted: WantedTable): Promise<readonly Call[]> {
  const sent: Call[] = [];
  const send = ({ constructor, input }: { readonly constructor: { readonly name: string }; readonly input: Call['input'] }) => {
    const name = constructor.name.replace('Command', '');
    if (name !== 'DescribeTable') sent.push({ name, input });
    if (name !== 'DescribeTable') return Promise.resolve({});
    if (sent.length === 0) return Promise.reject(Object.assign(new Error('none'), { name: 'ResourceNotFoundException' }));
    return Promise.resolve({ Table: { ...sent[0]?.input, TableStatus: 'ACTIVE' } });
  };
  const client: Sender = { runtime: realRuntime(), send: (_what, signal, work) => work({ send } as never, signal) };
  await provisionTable({ client, config }, wanted, never);
  return sent;
}

/** What the CLI sends for a line: the words of its options become the members of the request ("aws dynamodb create-table", Synopsis). */
function requestOf(line: string): Call {
  const words = [...line.matchAll(/(?:'(?:[^']|'\\'')*'|[^\s'])+/g)].map(([word]) =>
    word.startsWith("'") ? word.slice(1, -1).replaceAll(String.raw`'\''`, "'") : word,
  );
  const [, , name = '', ...options] = words;
  const input: Record<string, unknown> = {};
  let option = '';
  for (const word of options) {
    if (word.startsWith('--')) {
      option = memberOf(word.slice(2));
      input[option] = true;
    } else if (['AttributeDefinitions', 'KeySchema', 'Tags'].includes(option)) {
      const before = Array.isArray(input[option]) ? (input[option] as unknown[]) : [];
      input[option] = word.startsWith('[') ? (JSON.parse(word) as unknown) : [...before, structureOf(word)];
    } else input[option] = option === 'PointInTimeRecoverySpecification' ? structureOf(word) : word;
  }
  return { name: memberOf(name), input };
}

function memberOf(words: string): string {
  const member = words.replace(/(?:^|-)(\w)/g, (_all, letter: string) => letter.toUpperCase());
  return member === 'DeletionProtectionEnabled' ? member : member.replace(/Url$/, 'URL');
}

function structureOf(short: string): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    short.split(',').map((pair) => {
      const [name = '', value = ''] = pair.split('=');
      return [name, value === 'true' ? true : value];
    }),
  );
}

test.each([
  ['the progress table', wantedOwnTable(config)],
  ['a key of plain columns', shaped(['id', 'at'])],
  ['a key with names that a shell and the short form read otherwise', shaped(["it's, here", 'a = "b" $c'])],
])('the printed command makes what `provision: create` makes: %s', async (_, wanted) => {
  const lines = createCommand(config, wanted).split('\n').map(requestOf);
  expect(lines.map(({ name }) => name)).toEqual(['CreateTable', 'Wait', 'UpdateContinuousBackups']);
  const at = { Region: 'eu-west-1', EndpointURL: 'http://127.0.0.1:8000' };
  const printed = lines
    .filter(({ name }) => name !== 'Wait')
    .map(({ name, input: { Region, EndpointURL, ...input } }) => {
      expect({ Region, EndpointURL }).toEqual(at);
      return { name, input };
    });
  expect(printed).toEqual(await sentFor(wanted));
  expect(printed[0]?.input).toMatchObject({ DeletionProtectionEnabled: true, Tags: [{ Key: 'causeway', Value: 'sink' }] });
});

function shaped(names: readonly string[]): WantedTable {
  const schema = contractSchema(
    'public.t' as TableId,
    names.map((name) => contractColumn(name, 'text', text, false)),
    names.map((_, at) => at),
  );
  return wantedTable(shapeOf(schema, { config, pipeline: 'p', sink: 's', target: 'public.t' as TableId }));
}
