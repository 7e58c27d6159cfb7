import { DeleteItemCommand, DynamoDBClient, GetItemCommand, PutItemCommand, QueryCommand } from '@aws-sdk/client-dynamodb';
import type { ControlKey, ControlRow, ControlStore, RowVersion, Swap } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import { randomName } from '#core/random-name.ts';
import type { Runtime } from '#core/runtime.ts';
import { dynamoError } from '../lib/dynamodb/errors.ts';
import { unlessRefused, type Item } from '../lib/dynamodb/send.ts';
import { orAborted } from '../lib/time/or-aborted.ts';
import { callMsFor, jsonText, withinTime } from '../lib/control/call.ts';
import type { Config } from './config.ts';
import { verifyTable, type Send } from './provision.ts';
import { itemOf, rowOf } from './rows.ts';

/** Rows as items of one partition key. A swap is one conditional write, a read is strongly consistent. */
export class DynamoControlStore implements ControlStore {
  readonly #config: Config;
  readonly #runtime: Runtime;
  readonly #callMs: number;
  readonly #client: DynamoDBClient;
  readonly #what: string;
  #verified = false;
  #closed = false;

  constructor(of: { readonly config: Config; readonly leaseTtlMs: number; readonly runtime: Runtime }) {
    const { region, endpoint, table } = of.config;
    this.#config = of.config;
    this.#runtime = of.runtime;
    this.#callMs = callMsFor(of.leaseTtlMs);
    this.#what = `the control store in the table ${table}`;
    this.#client = new DynamoDBClient({
      region,
      ...(endpoint === undefined ? {} : { endpoint }),
      // A second attempt of a write whose first reply was lost would be told of a conflict with itself.
      maxAttempts: 1,
      requestHandler: { connectionTimeout: this.#callMs, requestTimeout: this.#callMs, throwOnRequestTimeout: true },
    });
  }

  get(key: ControlKey, signal: AbortSignal): Promise<ControlRow | null> {
    return this.#use(signal, async (client, call) => {
      const command = new GetItemCommand({ TableName: this.#config.table, Key: this.#keyOf(key), ConsistentRead: true });
      const { Item } = await client.send(command, { abortSignal: call });
      return Item === undefined ? null : await rowOf(Item, this.#what);
    });
  }

  async swap(
    write: { readonly key: ControlKey; readonly value: unknown; readonly expected: RowVersion | null },
    signal: AbortSignal,
  ): Promise<Swap> {
    const { key, expected } = write;
    signal.throwIfAborted();
    // Nothing but chance: a number would come again in a table that was restored from a backup.
    const version = randomName(this.#runtime) as RowVersion;
    const item = await itemOf({ store: this.#config.store, key, text: jsonText(write.value), version });
    const condition =
      expected === null
        ? { ConditionExpression: 'attribute_not_exists(pk)' }
        : { ConditionExpression: 'version = :expected', ExpressionAttributeValues: { ':expected': { S: expected } } };
    const command = new PutItemCommand({
      TableName: this.#config.table,
      Item: item,
      ...condition,
      ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
    });
    return await this.#use(signal, async (client, call) => {
      const refused = await unlessRefused(client.send(command, { abortSignal: call }));
      return refused === null ? { tag: 'stored', version } : await this.#conflict(refused);
    });
  }

  remove(key: ControlKey, expected: RowVersion, signal: AbortSignal): Promise<Swap | { readonly tag: 'removed' }> {
    const command = new DeleteItemCommand({
      TableName: this.#config.table,
      Key: this.#keyOf(key),
      ConditionExpression: 'version = :expected',
      ExpressionAttributeValues: { ':expected': { S: expected } },
      ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
    });
    return this.#use(signal, async (client, call) => {
      const refused = await unlessRefused(client.send(command, { abortSignal: call }));
      return refused === null ? { tag: 'removed' as const } : await this.#conflict(refused);
    });
  }

  /** In the order of their bytes, which is how DynamoDB sorts. A page is 1 MB; each has the whole time of a call. */
  async list(prefix: string, signal: AbortSignal): Promise<readonly ControlRow[]> {
    const { table, store } = this.#config;
    const rows: ControlRow[] = [];
    const below = prefix === '' ? '' : ' AND begins_with(sk, :prefix)';
    let from: Item | undefined;
    do {
      const command: QueryCommand = new QueryCommand({
        TableName: table,
        ConsistentRead: true,
        KeyConditionExpression: `pk = :store${below}`,
        ExpressionAttributeValues: { ':store': { S: store }, ...(prefix === '' ? {} : { ':prefix': { S: prefix } }) },
        ...(from === undefined ? {} : { ExclusiveStartKey: from }),
      });
      const page = await this.#use(signal, (client, call) => client.send(command, { abortSignal: call }));
      for (const item of page.Items ?? []) rows.push(await rowOf(item, this.#what));
      from = page.LastEvaluatedKey;
    } while (from !== undefined);
    return rows;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#client.destroy();
    return Promise.resolve();
  }

  #keyOf(key: ControlKey): Item {
    return { pk: { S: this.#config.store }, sk: { S: key } };
  }

  async #conflict(refused: { readonly found: Item | undefined }): Promise<Swap> {
    return { tag: 'conflict', current: refused.found === undefined ? null : await rowOf(refused.found, this.#what) };
  }

  async #use<T>(signal: AbortSignal, work: (client: DynamoDBClient, signal: AbortSignal) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    if (this.#closed) throw new CausewayError('control_unavailable', 'the control store is closed');
    const send: Send = (call) => this.#send(signal, call);
    if (!this.#verified) await verifyTable(this.#config, { send, runtime: this.#runtime }, signal);
    this.#verified = true;
    try {
      return await send(work);
    } catch (error) {
      // Whatever it was, the next call looks whether the table is still there and safe.
      this.#verified = false;
      throw error;
    }
  }

  #send<T>(signal: AbortSignal, work: (client: DynamoDBClient, signal: AbortSignal) => Promise<T>): Promise<T> {
    return withinTime({ runtime: this.#runtime, callMs: this.#callMs, what: this.#what }, signal, async (call) => {
      try {
        return await orAborted(call, () => work(this.#client, call));
      } catch (error) {
        call.throwIfAborted();
        throw dynamoError(error, { role: 'control', what: this.#what, region: this.#config.region });
      }
    });
  }
}
