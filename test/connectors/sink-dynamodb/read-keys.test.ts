import { expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import { rowKeyOf, type RowKey } from '#core/key.ts';
import type { MonoMs, WallMs } from '#core/position.ts';
import type { TableId } from '#core/schema.ts';
import { configSchema } from '../../../connectors/sink-dynamodb/config.ts';
import type { Sender } from '../../../connectors/sink-dynamodb/client.ts';
import { ReadBudget } from '../../../connectors/sink-dynamodb/read.ts';
import { readKeys } from '../../../connectors/sink-dynamodb/read-keys.ts';
import { keyText, rowItem, shapeOf } from '../../../connectors/sink-dynamodb/shape.ts';
import { dynamoError } from '../../../connectors/lib/dynamodb/errors.ts';
import type { Item } from '../../../connectors/lib/dynamodb/send.ts';
import { plainSchema, sequenceAt } from '../../contract/sink.ts';

const never = new AbortController().signal;
const config = configSchema.parse({ kind: 'dynamodb', region: 'eu-west-1' });
const schema = plainSchema('public.t' as TableId);
const shape = shapeOf(schema, { config, pipeline: 'p', sink: 's', target: schema.table });
const keyAt = (id: number): RowKey => present(rowKeyOf(schema, [String(id), null, null]), 'a key');

type Asked = { readonly RequestItems: Readonly<Record<string, { readonly Keys: readonly Item[]; readonly ConsistentRead?: boolean }>> };

/** Holds a row of each even id, answers at most `room` keys of a request, and refuses the requests that `refuse` says. */
function table(room: number, refuse: (request: number) => boolean = () => false) {
  let nowMs = 0;
  const requests: Asked[] = [];
  const retried: string[] = [];
  const answer = ({ input }: { readonly input: Asked }): Promise<unknown> => {
    requests.push(input);
    const refused = Object.assign(new Error('no'), { name: 'ProvisionedThroughputExceededException', $metadata: { httpStatusCode: 400 } });
    if (refuse(requests.length)) return Promise.reject(refused);
    const keys = input.RequestItems['public.t']?.Keys ?? [];
    const taken = keys.slice(0, room);
    const left = keys.slice(room);
    const even = taken.map((key) => Number(keyText(shape, key))).filter((id) => id % 2 === 0);
    return Promise.resolve({
      // In another order than they were asked for.
      Responses: {
        'public.t': even
          .toReversed()
          .map((id) => rowItem(shape, { key: keyAt(id), sequence: sequenceAt(id + 1), row: [String(id), 'x', null] })),
      },
      UnprocessedKeys: left.length === 0 ? {} : { 'public.t': { Keys: left } },
      ConsumedCapacity: [{ CapacityUnits: taken.length }],
    });
  };
  const client: Sender = {
    runtime: {
      monotonicMs: () => nowMs as MonoMs,
      wallMs: () => nowMs as WallMs,
      random: () => 0.5,
      sleep: (ms) => {
        nowMs += ms;
        return Promise.resolve();
      },
    },
    send: async (what, _signal, work) => {
      try {
        return await work({ send: answer } as never, never);
      } catch (error) {
        throw dynamoError(error, { role: 'sink', what, region: 'eu-west-1' });
      }
    },
  };
  const budget = new ReadBudget({ client, unitsPerSecond: 100 });
  const read = (keys: readonly RowKey[]) => readKeys({ client, budget, onRetry: (code) => retried.push(code) }, shape, keys, never);
  return { read, requests, retried, now: () => nowMs };
}

const ids = Array.from({ length: 250 }, (_, id) => id);
const keys = ids.map((id) => keyAt(id));
const rows = ids.filter((id) => id % 2 === 0).map((id) => ({ key: keyAt(id), sequence: sequenceAt(id + 1), row: [String(id), 'x', null] }));

test('items are read a hundred in a request, strongly consistent, each once', async () => {
  const { read, requests } = table(100);
  expect(new Set(await read([...keys, ...keys]))).toEqual(new Set(rows));
  const asked = requests.map(({ RequestItems }) => present(RequestItems['public.t'], 'keys of the table'));
  expect(asked.map(({ Keys }) => Keys.length)).toEqual([100, 100, 50]);
  expect(asked.every(({ ConsistentRead }) => ConsistentRead === true)).toBe(true);
});

test('what an answer leaves out is asked for again, after a pause, and so is what is throttled', async () => {
  const { read, requests, retried } = table(40, (request) => request === 2);
  expect(new Set(await read(keys))).toEqual(new Set(rows));
  // 100 keys are 40, a refusal, 40 and 20; then 40, 40 and 20; then 40 and 10.
  expect(requests).toHaveLength(9);
  expect(retried).toHaveLength(requests.length - 3);
});

test('no more read units are consumed in a second than the settings say', async () => {
  const { read, now } = table(100);
  await read(keys);
  // Of 250 units the last 50 are not waited for.
  expect(now()).toBeGreaterThanOrEqual(2_000);
});
