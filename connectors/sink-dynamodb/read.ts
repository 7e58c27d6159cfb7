import { ScanCommand } from '@aws-sdk/client-dynamodb';
import { CausewayError } from '#core/errors.ts';
import type { SinkRow } from '#core/sink.ts';
import type { Client } from './client.ts';
import { isTombstone, rowIn, rowKeyIn, sequenceOf, type Shape } from './shape.ts';
import type { Item } from '../lib/dynamodb/send.ts';

/** Every item of the table, strongly consistent, in pages of up to 1 MB and in no order. */
export async function* items(
  client: Client,
  { tableName }: Pick<Shape, 'tableName'>,
  signal: AbortSignal,
  over: { readonly segment?: number; readonly segments?: number } = {},
): AsyncIterable<readonly Item[]> {
  let from: Item | undefined;
  do {
    const command: ScanCommand = new ScanCommand({
      TableName: tableName,
      ConsistentRead: true,
      ...(from === undefined ? {} : { ExclusiveStartKey: from }),
      ...(over.segments === undefined ? {} : { Segment: over.segment ?? 0, TotalSegments: over.segments }),
    });
    const page = await client.send(`the table ${tableName}`, signal, (dynamo, abortSignal) => dynamo.send(command, { abortSignal }));
    if ((page.Items ?? []).length > 0) yield page.Items ?? [];
    from = page.LastEvaluatedKey;
  } while (from !== undefined);
}

/** Errors: `sink_misconfigured` for an item whose key is not as this sink writes it. */
export function sinkRow(shape: Shape, item: Item): SinkRow {
  const key = rowKeyIn(shape, item);
  if (key === null) throw new CausewayError('sink_misconfigured', `the table ${shape.tableName} holds an item with another key`);
  return { key, sequence: sequenceOf(item), row: isTombstone(item) ? null : rowIn(shape, item) };
}
