import { DeleteItemCommand, GetItemCommand, PutItemCommand, QueryCommand, TransactWriteItemsCommand } from '@aws-sdk/client-dynamodb';
import { CausewayError } from '#core/errors.ts';
import { fencingTokenOf } from '#core/position.ts';
import type { TableId } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';
import type { SinkClaim } from '#core/sink.ts';
import { nameOf } from '../lib/dynamodb/errors.ts';
import { unlessRefused } from '../lib/dynamodb/send.ts';
import type { Sender } from './client.ts';
import {
  CLAIM,
  heldItem,
  ownKey,
  parseHeld,
  PARTITIONS,
  partitionSk,
  SWEEPS,
  sweepOf,
  takenKey,
  TABLES,
  textIn,
  type Held,
  type OwnPlace,
} from './own-rows.ts';
import type { Item } from '../lib/dynamodb/send.ts';

const RAISE_PAUSE_MS = 50;

/** Reasons of a cancelled transaction ("TransactWriteItems", Errors). */
const LOST_RACE: ReadonlySet<string> = new Set(['ConditionalCheckFailed', 'TransactionConflict']);
const THROTTLED: ReadonlySet<string> = new Set(['ThrottlingError', 'ProvisionedThroughputExceeded', 'RequestLimitExceeded']);

/** Claim, partitions and sweeps of one sink. Each method is one linearizable step; reads are strongly consistent. */
export class OwnTable {
  readonly place: OwnPlace;
  readonly #client: Sender;
  readonly #name: string;
  readonly #what: string;

  constructor(of: { readonly client: Sender; readonly name: string; readonly place: OwnPlace }) {
    this.place = of.place;
    this.#client = of.client;
    this.#name = of.name;
    this.#what = `the table ${of.name}`;
  }

  /**
   * A claim that is missing is made, by a known sink with whatever progress is there: the table went back to a state from before the
   * claim. A sink that is not known yet never had any, so that what is there is somebody else's.
   */
  async claim(by: SinkClaim, signal: AbortSignal): Promise<void> {
    const { pipeline, sink } = this.place;
    let owner = await this.owner(signal);
    if (owner === null) {
      const left = by.known ? [] : await this.#list(PARTITIONS, signal);
      if (left.length > 0) {
        throw new CausewayError(
          'sink_misconfigured',
          `the sink ${sink} is new, but holds progress of an earlier pipeline: remove that with \`causeway pipeline remove -p ${pipeline} --sink ${sink} --confirm ${pipeline}\``,
        );
      }
      const claim = { ...ownKey(this.place, CLAIM), owner: { S: by.owner } };
      owner = (await this.#putNew(claim, signal)) ? by.owner : await this.owner(signal);
    }
    if (owner !== by.owner) throw claimed(this.place, owner ?? 'nobody');
  }

  /** Null where nobody claims it. */
  async owner(signal: AbortSignal): Promise<string | null> {
    const item = await this.#get(CLAIM, signal);
    return item === null ? null : textIn(item, 'owner');
  }

  async held(partition: number, signal: AbortSignal): Promise<Held | null> {
    const item = await this.#get(partitionSk(partition), signal);
    return item === null ? null : parseHeld(item);
  }

  async allHeld(signal: AbortSignal): Promise<readonly Held[]> {
    return (await this.#list(PARTITIONS, signal)).map(parseHeld);
  }

  /** Raises the fence by one, under the claim of `owner`. Errors: `sink_claimed`, `sink_unknown_progress` where the claim is gone. */
  async raise(partition: number, owner: string, signal: AbortSignal): Promise<Held> {
    while (true) {
      const before = await this.held(partition, signal);
      const token = fencingTokenOf((before?.token ?? 0) + 1);
      const next: Held = { partition, owner, token, progress: before?.progress ?? null, writes: before?.writes ?? 0 };
      if (await this.#transact(next, before, owner, signal)) return next;
      const now = await this.owner(signal);
      if (now === null) {
        throw new CausewayError(
          'sink_unknown_progress',
          `the sink ${this.place.sink} has lost the claim on its progress; the next start looks what is left`,
        );
      }
      if (now !== owner) throw claimed(this.place, now);
      // Somebody else takes it at the same moment.
      await this.#client.runtime.sleep(RAISE_PAUSE_MS, signal);
    }
  }

  /** False, with nothing changed, where the partition is not as `before` any more. */
  async replace(before: Held, after: Held, signal: AbortSignal): Promise<boolean> {
    const command = new PutItemCommand({ TableName: this.#name, Item: heldItem(this.place, after), ...unchanged(before) });
    return (
      (await this.#client.send(this.#what, signal, (client, abortSignal) => unlessRefused(client.send(command, { abortSignal })))) === null
    );
  }

  async sweeps(signal: AbortSignal): Promise<ReadonlyMap<TableId, Sequence>> {
    return new Map((await this.#list(SWEEPS, signal)).map(sweepOf));
  }

  /** Never falls. */
  async swept(table: TableId, sequence: Sequence, signal: AbortSignal): Promise<void> {
    const command = new PutItemCommand({
      TableName: this.#name,
      Item: { ...ownKey(this.place, SWEEPS + table), sequence: { S: sequence } },
      ConditionExpression: 'attribute_not_exists(pk) OR #sequence < :sequence',
      ExpressionAttributeNames: { '#sequence': 'sequence' },
      ExpressionAttributeValues: { ':sequence': { S: sequence } },
    });
    await this.#client.send(this.#what, signal, (client, abortSignal) => unlessRefused(client.send(command, { abortSignal })));
  }

  /** The identity under which rows of the table were first written; `id` from now on where there is none. */
  async tableId(table: TableId, id: string, signal: AbortSignal): Promise<string> {
    const sk = TABLES + table;
    const before = await this.#get(sk, signal);
    if (before !== null) return textIn(before, 'id');
    if (await this.#putNew({ ...ownKey(this.place, sk), id: { S: id } }, signal)) return id;
    return await this.tableId(table, id, signal);
  }

  /**
   * Takes the table for the rows of one source table, if nothing stands in it: older sequences would make new changes stale. Errors:
   * `sink_misconfigured` where it holds the rows of another one, or `isEmpty` says that it holds any.
   */
  async take(
    of: { readonly tableName: string; readonly table: TableId },
    isEmpty: () => Promise<boolean>,
    signal: AbortSignal,
  ): Promise<void> {
    const { tableName, table } = of;
    const mine = this.#holderOf(table);
    const key = takenKey(tableName);
    const holder = async (): Promise<string | null> => {
      const item = await this.#at(key, signal);
      return item === null ? null : textIn(item, 'by');
    };
    let by = await holder();
    if (by === null) {
      const empty = await isEmpty();
      by = await holder();
      // Another process of this sink can have taken it meanwhile, and written.
      if (by === null && !empty) throw notEmpty(tableName, this.place.sink);
      if (by === null) by = (await this.#putNew({ ...key, by: { S: mine } }, signal)) ? mine : await holder();
    }
    if (by === mine) return;
    throw new CausewayError(
      'sink_misconfigured',
      `the table ${tableName} holds the rows of ${by ?? 'another sink'}, and not of ${mine}: give one of them another \`target\`, or set \`tables\` ` +
        `of the sink ${this.place.sink}`,
    );
  }

  #holderOf(table: TableId): string {
    return `${this.place.pipeline}/${this.place.sink} ${table}`;
  }

  /** The claim goes last: until then nobody else can begin. */
  async remove(
    owners: readonly string[],
    reports: { remove(signal: AbortSignal): Promise<number> },
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const owner = await this.owner(signal);
    if (owner !== null && !owners.includes(owner)) throw claimed(this.place, owner);
    const differences = await reports.remove(signal);
    const items = await this.#list('', signal);
    const isClaim = (item: Item): boolean => textIn(item, 'sk') === CLAIM;
    const taken = await this.#list('', signal, takenKey(''));
    const own = taken.filter((item) => textIn(item, 'by').startsWith(this.#holderOf('' as TableId)));
    // Whoever still writes finds its partition gone before anybody else can have its table.
    for (const { pk, sk } of [...items.filter((item) => !isClaim(item)), ...own, ...items.filter(isClaim)]) {
      if (pk === undefined || sk === undefined) continue;
      const command = new DeleteItemCommand({ TableName: this.#name, Key: { pk, sk } });
      await this.#client.send(this.#what, signal, (client, abortSignal) => client.send(command, { abortSignal }));
    }
    const removed = items.length + differences;
    return removed === 0 ? [] : [`${removed} items of ${this.place.pipeline}/${this.place.sink} in ${this.#what}`];
  }

  async #transact(next: Held, before: Held | null, owner: string, signal: AbortSignal): Promise<boolean> {
    const command = new TransactWriteItemsCommand({
      TransactItems: [
        {
          ConditionCheck: {
            TableName: this.#name,
            Key: ownKey(this.place, CLAIM),
            ConditionExpression: '#owner = :owner',
            ExpressionAttributeNames: { '#owner': 'owner' },
            ExpressionAttributeValues: { ':owner': { S: owner } },
          },
        },
        {
          Put: {
            TableName: this.#name,
            Item: heldItem(this.place, next),
            ...(before === null ? { ConditionExpression: 'attribute_not_exists(pk)' } : unchanged(before)),
          },
        },
      ],
    });
    return await this.#client.send(this.#what, signal, async (client, abortSignal) => {
      try {
        await client.send(command, { abortSignal });
        return true;
      } catch (error) {
        if (nameOf(error) !== 'TransactionCanceledException') throw error;
        const reasons = (error as { readonly CancellationReasons?: readonly { readonly Code?: string }[] }).CancellationReasons ?? [];
        const codes = reasons.map(({ Code = 'None' }) => Code);
        if (codes.some((code) => LOST_RACE.has(code))) return false;
        const isThrottled = codes.some((code) => THROTTLED.has(code));
        throw new CausewayError(isThrottled ? 'sink_throttled' : 'sink_misconfigured', `${this.#what}: ${codes.join(', ')}`);
      }
    });
  }

  #get(sk: string, signal: AbortSignal): Promise<Item | null> {
    return this.#at(ownKey(this.place, sk), signal);
  }

  async #at(key: Item, signal: AbortSignal): Promise<Item | null> {
    const command = new GetItemCommand({ TableName: this.#name, Key: key, ConsistentRead: true });
    const { Item } = await this.#client.send(this.#what, signal, (client, abortSignal) => client.send(command, { abortSignal }));
    return Item ?? null;
  }

  async #putNew(item: Item, signal: AbortSignal): Promise<boolean> {
    const command = new PutItemCommand({ TableName: this.#name, Item: item, ConditionExpression: 'attribute_not_exists(pk)' });
    return (
      (await this.#client.send(this.#what, signal, (client, abortSignal) => unlessRefused(client.send(command, { abortSignal })))) === null
    );
  }

  async #list(prefix: string, signal: AbortSignal, { pk }: Item = ownKey(this.place, '')): Promise<readonly Item[]> {
    const items: Item[] = [];
    let from: Item | undefined;
    do {
      const command: QueryCommand = new QueryCommand({
        TableName: this.#name,
        ConsistentRead: true,
        KeyConditionExpression: prefix === '' ? 'pk = :pk' : 'pk = :pk AND begins_with(sk, :prefix)',
        ExpressionAttributeValues: { ...(pk === undefined ? {} : { ':pk': pk }), ...(prefix === '' ? {} : { ':prefix': { S: prefix } }) },
        ...(from === undefined ? {} : { ExclusiveStartKey: from }),
      });
      const page = await this.#client.send(this.#what, signal, (client, abortSignal) => client.send(command, { abortSignal }));
      items.push(...(page.Items ?? []));
      from = page.LastEvaluatedKey;
    } while (from !== undefined);
    return items;
  }
}

/** Each step changes one of these three. */
function unchanged({ owner, token, writes, progress }: Held) {
  return {
    ConditionExpression:
      '#owner = :owner AND #token = :token AND #writes = :writes AND ' +
      (progress === null ? 'attribute_not_exists(#progress)' : '#progress = :progress'),
    ExpressionAttributeNames: { '#owner': 'owner', '#token': 'token', '#writes': 'writes', '#progress': 'progress' },
    ExpressionAttributeValues: {
      ':owner': { S: owner },
      ':token': { N: String(token) },
      ':writes': { N: String(writes) },
      ...(progress === null ? {} : { ':progress': { S: JSON.stringify(progress) } }),
    },
  };
}

export function claimed({ pipeline, sink }: OwnPlace, owner: string): CausewayError {
  return new CausewayError(
    'sink_claimed',
    `another deployment, owner ${owner}, has the sink ${sink} of the pipeline ${pipeline} in this region: give the pipeline or the sink ` +
      `a name of its own. Where that deployment is gone for good: \`causeway pipeline remove -p ${pipeline} --sink ${sink} --owner ${owner} --confirm ${pipeline}\``,
  );
}

function notEmpty(tableName: string, sink: string): CausewayError {
  return new CausewayError(
    'sink_misconfigured',
    `the table ${tableName} holds items already, and the sink ${sink} is new to it: rows of an earlier pipeline keep sequences that can be above ` +
      'those to come, and rows without a sequence are not ours. Delete the table, or set `tables` of the sink to other names',
  );
}
