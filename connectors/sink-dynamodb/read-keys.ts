import { BatchGetItemCommand } from '@aws-sdk/client-dynamodb';
import type { ErrorCode } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import type { SinkRow } from '#core/sink.ts';
import type { Item } from '../lib/dynamodb/send.ts';
import { unlessThrottled, untilTaken } from '../lib/sink/throttled.ts';
import type { Sender } from './client.ts';
import { ValueRefused } from './encode.ts';
import { sinkRow, type ReadBudget } from './read.ts';
import { keyItem, keyText, type Shape } from './shape.ts';

/** Of a BatchGetItem ("Quotas in Amazon DynamoDB", API-specific limits). */
const KEYS_MAX = 100;

type Reading = { readonly client: Sender; readonly budget: ReadBudget; readonly onRetry: (code: ErrorCode) => void };

/**
 * Items of these keys, strongly consistent, a hundred in a request and no faster than the budget of read units allows: one unit for each
 * 4 KB of an item, and one for a key without an item.
 */
export async function readKeys(of: Reading, shape: Shape, keys: readonly RowKey[], signal: AbortSignal): Promise<readonly SinkRow[]> {
  const asked = new Map<string, { readonly rowKey: RowKey; readonly key: Item }>();
  for (const rowKey of keys) {
    const key = keyThere(shape, rowKey);
    if (key !== null) asked.set(keyText(shape, key), { rowKey, key });
  }
  const all = [...asked.values()];
  const found: SinkRow[] = [];
  for (let from = 0; from < all.length; from += KEYS_MAX) {
    const some = all.slice(from, from + KEYS_MAX).map(({ key }) => key);
    for (const item of await readItems(of, shape, some, signal)) {
      const row = sinkRow(shape, item);
      found.push({ ...row, key: asked.get(keyText(shape, item))?.rowKey ?? row.key });
    }
  }
  return found;
}

/** Null for a key that the service does not take: no item has it. */
function keyThere(shape: Shape, rowKey: RowKey): Item | null {
  try {
    return keyItem(shape, rowKey);
  } catch (error) {
    if (error instanceof ValueRefused) return null;
    throw error;
  }
}

/** What the service leaves out of an answer is asked for again: for want of room in it, or because it is throttled. */
async function readItems(
  { client, budget, onRetry }: Reading,
  { tableName }: Shape,
  keys: readonly Item[],
  signal: AbortSignal,
): Promise<readonly Item[]> {
  const found: Item[] = [];
  let left = keys;
  return await untilTaken({ runtime: client.runtime, onRetry }, signal, async () => {
    await budget.room(signal);
    const command = new BatchGetItemCommand({
      RequestItems: { [tableName]: { Keys: [...left], ConsistentRead: true } },
      ReturnConsumedCapacity: 'TOTAL',
    });
    const answer = await unlessThrottled(
      client.send(`the table ${tableName}`, signal, (dynamo, abortSignal) => dynamo.send(command, { abortSignal })),
    );
    if (answer === null) return null;
    budget.spent((answer.ConsumedCapacity ?? []).reduce((sum, { CapacityUnits: units = 0 }) => sum + units, 0));
    found.push(...(answer.Responses?.[tableName] ?? []));
    left = answer.UnprocessedKeys?.[tableName]?.Keys ?? [];
    return left.length === 0 ? found : null;
  });
}
