import { GetItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import type { RowChange, RowOutcome } from '#core/sink.ts';
import { mergePartial } from '#core/value.ts';
import { nameOf } from '../lib/dynamodb/errors.ts';
import { unlessRefused, type Item } from '../lib/dynamodb/send.ts';
import type { Sender } from './client.ts';
import { ValueRefused } from './encode.ts';
import { isTombstone, keyItem, rowIn, rowItem, SEQUENCE, sequenceOf, sequenceValue, tombstoneItem, type Shape } from './shape.ts';

export const APPLIED: RowOutcome = { tag: 'applied' };
export const STALE: RowOutcome = { tag: 'stale' };
const WITHOUT_BASE: RowOutcome = { tag: 'rejected', code: 'partial_without_base', reason: 'the sink has no live row of the key' };
const FOREIGN: RowOutcome = {
  tag: 'rejected',
  code: 'value_refused',
  reason: `the item of the key has no ${SEQUENCE}: something else wrote it`,
};

/** Writes one row as a register: an item of a lower sequence is replaced whole. May be repeated. */
export async function writeRow(client: Sender, shape: Shape, change: RowChange, signal: AbortSignal): Promise<RowOutcome> {
  try {
    if (change.tag === 'partial') return await writePartial(client, shape, { ...change, tag: 'partial' }, signal);
    const item = change.tag === 'delete' ? tombstoneItem(shape, change) : rowItem(shape, change);
    const found = await putIfNewer(client, shape, item, signal);
    return found === null ? APPLIED : refusedBy(found);
  } catch (error) {
    if (!(error instanceof ValueRefused)) throw error;
    return await refused(client, shape, change, error, signal);
  }
}

/** Null where it took effect; otherwise the item that stands there. */
async function putIfNewer(client: Sender, { tableName, key }: Shape, item: Item, signal: AbortSignal): Promise<Item | null> {
  const command = new PutItemCommand({
    TableName: tableName,
    Item: item,
    ConditionExpression: 'attribute_not_exists(#key) OR #sequence < :sequence',
    ExpressionAttributeNames: { '#key': key[0]?.name ?? '', '#sequence': SEQUENCE },
    ExpressionAttributeValues: { ':sequence': item[SEQUENCE] ?? { NULL: true } },
    ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
  });
  const kept = await client.send(`the table ${tableName}`, signal, (dynamo, abortSignal) =>
    unlessRefused(unlessInvalid(dynamo.send(command, { abortSignal }))),
  );
  return kept === null ? null : (kept.found ?? {});
}

const REFUSED_BY_SERVICE = 'the service refuses the item (ValidationException)';

/** True for a refusal by the service itself, which can be for what the table has become. */
export function isOfService(outcome: RowOutcome | undefined): boolean {
  return outcome?.tag === 'rejected' && outcome.reason === REFUSED_BY_SERVICE;
}

/** More than 400 KB, or a value that an index cannot take: only the service knows. */
async function unlessInvalid<T>(sent: Promise<T>): Promise<T> {
  try {
    return await sent;
  } catch (error) {
    if (nameOf(error) === 'ValidationException') throw new ValueRefused(REFUSED_BY_SERVICE);
    throw error;
  }
}

/** An equal sequence is our own earlier attempt, a greater one is newer. */
function refusedBy(found: Item): RowOutcome {
  return sequenceOf(found) === null ? FOREIGN : STALE;
}

/** What was read is merged and put in its place, unless that has changed meanwhile: then once more. */
async function writePartial(
  client: Sender,
  shape: Shape,
  change: RowChange & { readonly tag: 'partial' },
  signal: AbortSignal,
): Promise<RowOutcome> {
  while (true) {
    const found = await read(client, shape, keyItem(shape, change.key), signal);
    if (found === null) return WITHOUT_BASE;
    const sequence = sequenceOf(found);
    if (sequence === null) return FOREIGN;
    if (sequence >= change.sequence) return STALE;
    if (isTombstone(found)) return WITHOUT_BASE;
    const item = rowItem(shape, { ...change, row: mergePartial(rowIn(shape, found), change.row) });
    const command = new PutItemCommand({
      TableName: shape.tableName,
      Item: item,
      ConditionExpression: '#sequence = :before',
      ExpressionAttributeNames: { '#sequence': SEQUENCE },
      ExpressionAttributeValues: { ':before': sequenceValue(sequence) },
    });
    const kept = await client.send(`the table ${shape.tableName}`, signal, (dynamo, abortSignal) =>
      unlessRefused(unlessInvalid(dynamo.send(command, { abortSignal }))),
    );
    if (kept === null) return APPLIED;
  }
}

/** A value that no attribute can hold, of a row that would not have taken effect anyway, is stale. */
async function refused(client: Sender, shape: Shape, change: RowChange, error: ValueRefused, signal: AbortSignal): Promise<RowOutcome> {
  const rejected: RowOutcome = { tag: 'rejected', code: 'value_refused', reason: error.message };
  let key: Item;
  try {
    key = keyItem(shape, change.key);
  } catch (refusal) {
    if (refusal instanceof ValueRefused) return rejected;
    throw refusal;
  }
  const found = await read(client, shape, key, signal);
  const sequence = found === null ? null : sequenceOf(found);
  return sequence !== null && sequence >= change.sequence ? STALE : rejected;
}

async function read(client: Sender, { tableName }: Shape, key: Item, signal: AbortSignal): Promise<Item | null> {
  const command = new GetItemCommand({ TableName: tableName, Key: key, ConsistentRead: true });
  const { Item } = await client.send(`the table ${tableName}`, signal, (dynamo, abortSignal) => dynamo.send(command, { abortSignal }));
  return Item ?? null;
}

/** Puts a tombstone where an item of ours is older, live or not; false where it is not. */
export async function bury(client: Sender, shape: Shape, item: Item, signal: AbortSignal): Promise<boolean> {
  const command = new PutItemCommand({
    TableName: shape.tableName,
    Item: item,
    ConditionExpression: '#sequence < :sequence',
    ExpressionAttributeNames: { '#sequence': SEQUENCE },
    ExpressionAttributeValues: { ':sequence': item[SEQUENCE] ?? { NULL: true } },
  });
  return (
    (await client.send(`the table ${shape.tableName}`, signal, (dynamo, abortSignal) =>
      unlessRefused(dynamo.send(command, { abortSignal })),
    )) === null
  );
}
