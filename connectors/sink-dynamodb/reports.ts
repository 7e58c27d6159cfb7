import { DeleteItemCommand, PutItemCommand, QueryCommand, type DynamoDBClient } from '@aws-sdk/client-dynamodb';
import type { ErrorCode } from '#core/errors.ts';
import type { Difference, SinkReports } from '#core/sink.ts';
import type { Item } from '../lib/dynamodb/send.ts';
import { parseReport, REPORT_COLUMNS, REPORT_IDENTITY, reportTexts, type ReportTexts } from '../lib/sink/report-texts.ts';
import { allEnded, unlessThrottled, untilTaken } from '../lib/sink/throttled.ts';
import type { Sender } from './client.ts';
import { reportKey, textIn, type OwnPlace } from './own-rows.ts';

/** All reports of a sink have one partition key, which takes a thousand writes of a second. */
const WRITES_AT_ONCE = 25;
/** Ends a run's name in the sort key; a name is encoded so that it holds none. */
const SLASH = '/';

type Of = { readonly client: Sender; readonly name: string; readonly place: OwnPlace; readonly onRetry: (code: ErrorCode) => void };

/** Items of the table that the sink keeps for itself, under a partition key of their own. */
export class DynamoReports implements SinkReports {
  readonly #of: Of;

  constructor(of: Of) {
    this.#of = of;
  }

  async add(run: string, differences: readonly Difference[], signal: AbortSignal): Promise<void> {
    const items = reportTexts(differences).map((texts) => this.#item(run, texts));
    await this.#each(items, signal, (Item) => new PutItemCommand({ TableName: this.#of.name, Item }));
  }

  async *list(run: string, signal: AbortSignal): AsyncIterable<readonly Difference[]> {
    for await (const page of this.#pages(runPrefix(run), signal)) {
      yield page.map((item) => parseReport((column) => item[column]?.S ?? null));
    }
  }

  async keepOnly(runs: readonly string[], signal: AbortSignal): Promise<void> {
    await this.#drop(
      runs.map((run) => runPrefix(run)),
      signal,
    );
  }

  /** Drops all of them, and returns how many there were. */
  remove(signal: AbortSignal): Promise<number> {
    return this.#drop([], signal);
  }

  async #drop(kept: readonly string[], signal: AbortSignal): Promise<number> {
    let dropped = 0;
    for await (const page of this.#pages('', signal)) {
      const others = page.filter((item) => !kept.some((prefix) => textIn(item, 'sk').startsWith(prefix)));
      await this.#each(others, signal, ({ pk, sk }) => new DeleteItemCommand({ TableName: this.#of.name, Key: { pk, sk } as Item }));
      dropped += others.length;
    }
    return dropped;
  }

  #item(run: string, texts: ReportTexts): Item {
    const identity = REPORT_IDENTITY.map((name) => texts[name]).join(SLASH);
    const columns = REPORT_COLUMNS.flatMap((name) => {
      const text = texts[name];
      return text === null ? [] : [[name, { S: text }] as const];
    });
    return { ...reportKey(this.#of.place, runPrefix(run) + identity), ...Object.fromEntries(columns) };
  }

  async #each(items: readonly Item[], signal: AbortSignal, command: (item: Item) => PutItemCommand | DeleteItemCommand): Promise<void> {
    for (let from = 0; from < items.length; from += WRITES_AT_ONCE) {
      await allEnded(
        items
          .slice(from, from + WRITES_AT_ONCE)
          .map((item) => this.#taken(signal, (dynamo, at) => dynamo.send(command(item) as never, { abortSignal: at }))),
      );
    }
  }

  async *#pages(prefix: string, signal: AbortSignal): AsyncIterable<readonly Item[]> {
    const { pk } = reportKey(this.#of.place, '');
    let from: Item | undefined;
    do {
      const command: QueryCommand = new QueryCommand({
        TableName: this.#of.name,
        ConsistentRead: true,
        KeyConditionExpression: prefix === '' ? 'pk = :pk' : 'pk = :pk AND begins_with(sk, :prefix)',
        ExpressionAttributeValues: { ...(pk === undefined ? {} : { ':pk': pk }), ...(prefix === '' ? {} : { ':prefix': { S: prefix } }) },
        ...(from === undefined ? {} : { ExclusiveStartKey: from }),
      });
      const page = await this.#taken(signal, (dynamo, abortSignal) => dynamo.send(command, { abortSignal }));
      if (page.Items !== undefined && page.Items.length > 0) yield page.Items;
      from = page.LastEvaluatedKey;
    } while (from !== undefined);
  }

  async #taken<T extends object>(signal: AbortSignal, work: (dynamo: DynamoDBClient, signal: AbortSignal) => Promise<T>): Promise<T> {
    const { client, name, onRetry } = this.#of;
    return await untilTaken({ runtime: client.runtime, onRetry }, signal, () =>
      unlessThrottled(client.send(`the table ${name}`, signal, work)),
    );
  }
}

function runPrefix(run: string): string {
  return encodeURIComponent(run) + SLASH;
}
