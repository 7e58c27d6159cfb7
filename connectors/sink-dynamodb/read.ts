import { ScanCommand } from '@aws-sdk/client-dynamodb';
import { CausewayError, type ErrorCode } from '#core/errors.ts';
import type { SinkRow } from '#core/sink.ts';
import type { Item } from '../lib/dynamodb/send.ts';
import type { Sender } from './client.ts';
import type { SinkConfig } from './config.ts';
import { isTombstone, rowIn, rowKeyIn, sequenceOf, type Shape } from './shape.ts';
import { unlessThrottled, untilTaken } from '../lib/sink/throttled.ts';

/** Of a page, so that the first one of a large table does not take the budget of minutes. */
const PAGE_ITEMS_MAX = 1_000;

type Scanned = { readonly segment: number; readonly items: readonly Item[]; readonly next: Item | null };

/**
 * Every item of the table, strongly consistent, in pages and in no order. Segments are read side by side, one page ahead each, and
 * together no faster than the budget of read units allows.
 */
export async function* items(
  {
    client,
    config,
    onRetry,
  }: {
    readonly client: Sender;
    readonly config: Pick<SinkConfig, 'scanSegments' | 'scanReadUnits'>;
    readonly onRetry: (code: ErrorCode) => void;
  },
  { tableName }: Pick<Shape, 'tableName'>,
  signal: AbortSignal,
): AsyncIterable<readonly Item[]> {
  const budget = new ReadBudget({ client, unitsPerSecond: config.scanReadUnits });
  const stop = new AbortController();
  const ended = AbortSignal.any([signal, stop.signal]);
  const read = (segment: number, from: Item | undefined): Promise<Scanned> => {
    const page = readPage({ client, onRetry, budget, tableName, segment, segments: config.scanSegments }, from, ended);
    // Seen when its turn comes, which can be long after it failed.
    page.catch(() => undefined);
    return page;
  };
  const ahead = new Map(Array.from({ length: config.scanSegments }, (_, segment) => [segment, read(segment, undefined)] as const));
  try {
    while (ahead.size > 0) {
      const { segment, items: page, next } = await Promise.race(ahead.values());
      if (next === null) ahead.delete(segment);
      else ahead.set(segment, read(segment, next));
      if (page.length > 0) yield page;
    }
  } finally {
    // Whoever has seen enough, or met an error, waits for no page.
    stop.abort(new DOMException('the scan has ended', 'AbortError'));
    await Promise.allSettled(ahead.values());
  }
}

async function readPage(
  of: {
    readonly client: Sender;
    readonly onRetry: (code: ErrorCode) => void;
    readonly budget: ReadBudget;
    readonly tableName: string;
    readonly segment: number;
    readonly segments: number;
  },
  from: Item | undefined,
  signal: AbortSignal,
): Promise<Scanned> {
  const { client, onRetry, budget, tableName, segment, segments } = of;
  const command = new ScanCommand({
    TableName: tableName,
    ConsistentRead: true,
    Segment: segment,
    TotalSegments: segments,
    Limit: PAGE_ITEMS_MAX,
    ReturnConsumedCapacity: 'TOTAL',
    ...(from === undefined ? {} : { ExclusiveStartKey: from }),
  });
  // A page, and not the whole scan: that would begin again, and be throttled again.
  const page = await untilTaken({ runtime: client.runtime, onRetry }, signal, async () => {
    await budget.room(signal);
    return await unlessThrottled(
      client.send(`the table ${tableName}`, signal, (dynamo, abortSignal) => dynamo.send(command, { abortSignal })),
    );
  });
  budget.spent(page.ConsumedCapacity?.CapacityUnits ?? 0);
  return { segment, items: page.Items ?? [], next: page.LastEvaluatedKey ?? null };
}

/** What was read is paid for by waiting before the next page. */
export class ReadBudget {
  readonly #of: { readonly client: Sender; readonly unitsPerSecond: number };
  #freeAtMs: number;

  constructor(of: { readonly client: Sender; readonly unitsPerSecond: number }) {
    this.#of = of;
    this.#freeAtMs = of.client.runtime.monotonicMs();
  }

  async room(signal: AbortSignal): Promise<void> {
    const { runtime } = this.#of.client;
    while (this.#freeAtMs > runtime.monotonicMs()) await runtime.sleep(this.#freeAtMs - runtime.monotonicMs(), signal);
  }

  spent(units: number): void {
    const { client, unitsPerSecond } = this.#of;
    this.#freeAtMs = Math.max(this.#freeAtMs, client.runtime.monotonicMs()) + (units / unitsPerSecond) * 1_000;
  }
}

/** Errors: `sink_misconfigured` for an item whose key is not as this sink writes it. */
export function sinkRow(shape: Shape, item: Item): SinkRow {
  const key = rowKeyIn(shape, item);
  if (key === null) throw new CausewayError('sink_misconfigured', `the table ${shape.tableName} holds an item with another key`);
  return { key, sequence: sequenceOf(item), row: isTombstone(item) ? null : rowIn(shape, item) };
}
