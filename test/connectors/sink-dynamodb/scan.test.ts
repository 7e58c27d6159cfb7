import { expect, test } from 'vitest';
import type { MonoMs, WallMs } from '#core/position.ts';
import type { Sender } from '../../../connectors/sink-dynamodb/client.ts';
import { items } from '../../../connectors/sink-dynamodb/read.ts';
import { dynamoError } from '../../../connectors/lib/dynamodb/errors.ts';
import type { Item } from '../../../connectors/lib/dynamodb/send.ts';

const never = new AbortController().signal;
const PAGES = 5;

type Scan = { readonly Segment: number; readonly TotalSegments: number; readonly ExclusiveStartKey?: Item };

/** Segments of five pages with an item each, of ten read units. `refuse` names the error of a request. */
function table(refuse: (request: number) => string | null) {
  let nowMs = 0;
  let requests = 0;
  const retried: string[] = [];
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
      const answer = ({ input }: { readonly input: Scan }): Promise<unknown> => {
        requests += 1;
        const name = refuse(requests);
        if (name !== null) return Promise.reject(Object.assign(new Error('no'), { name, $metadata: { httpStatusCode: 400 } }));
        const page = Number(input.ExclusiveStartKey?.['page']?.N ?? '0');
        return Promise.resolve({
          Items: [{ id: { S: `${input.Segment}/${page}` } }],
          ConsumedCapacity: { CapacityUnits: 10 },
          ...(page + 1 < PAGES ? { LastEvaluatedKey: { page: { N: String(page + 1) } } } : {}),
        });
      };
      try {
        return await work({ send: answer } as never, never);
      } catch (error) {
        throw dynamoError(error, { role: 'sink', what, region: 'eu-west-1' });
      }
    },
  };
  const scan = async (): Promise<string[]> => {
    const found: string[] = [];
    const of = { client, config: { scanSegments: 3, scanReadUnits: 100 }, onRetry: (code: string) => retried.push(code) };
    for await (const page of items(of, { tableName: 't' }, never)) found.push(...page.map((item) => item['id']?.S ?? ''));
    return found.toSorted();
  };
  return { scan, retried, now: () => nowMs, requests: () => requests };
}

const whole = [0, 1, 2].flatMap((segment) => Array.from({ length: PAGES }, (_, page) => `${segment}/${page}`));

test('every page of every segment comes once, no faster than the budget of read units', async () => {
  const { scan, now } = table(() => null);
  expect(await scan()).toEqual(whole);
  // 150 units at 100 a second, of which the last page is not waited for.
  expect(now()).toBeGreaterThan(1_000);
  expect(now()).toBeLessThanOrEqual(1_500);
});

test('a page that is throttled is asked for again, and not the scan', async () => {
  const { scan, retried, requests } = table((request) => (request % 2 === 0 ? 'ProvisionedThroughputExceededException' : null));
  expect(await scan()).toEqual(whole);
  expect(retried.length).toBe(requests() - whole.length);
  expect(retried.length).toBeGreaterThan(10);
});

test('an error ends the scan, whichever segment meets it', async () => {
  const { scan } = table((request) => (request === 7 ? 'AccessDeniedException' : null));
  await expect(scan()).rejects.toThrow('AccessDenied');
});
