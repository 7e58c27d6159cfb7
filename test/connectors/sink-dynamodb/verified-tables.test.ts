import { expect, test } from 'vitest';
import type { MonoMs } from '#core/position.ts';
import type { TableId } from '#core/schema.ts';
import type { Sender } from '../../../connectors/sink-dynamodb/client.ts';
import { configSchema } from '../../../connectors/sink-dynamodb/config.ts';
import { OwnTable } from '../../../connectors/sink-dynamodb/own-table.ts';
import { shapeOf, type Shape } from '../../../connectors/sink-dynamodb/shape.ts';
import { VerifiedTables } from '../../../connectors/sink-dynamodb/verified-tables.ts';
import { plainSchema } from '../../contract/sink.ts';
import { realRuntime } from '../../support/test-runtime.ts';

const never = new AbortController().signal;
const config = configSchema.parse({ kind: 'dynamodb', region: 'eu-west-1' });
const TABLES = 100;
const LOOKS_AT_ONCE = 8;
const MINUTE_MS = 60_000;

type Input = { readonly TableName: string; readonly Key?: Readonly<Record<string, { readonly S: string }>> };

/** Tables that are as they have to be, and a clock that stands still until it is moved. */
class Service {
  nowMs = 0;
  /** Tables that were described, in order. */
  looked: string[] = [];
  inFlight = 0;
  inFlightMax = 0;
  /** Before a table is described. */
  before: (signal: AbortSignal) => Promise<void> = () => Promise.resolve();

  readonly client: Sender = {
    runtime: { ...realRuntime(), monotonicMs: () => this.nowMs as MonoMs },
    send: (_what, signal, work) => work({ send: (command: { readonly input: Input }) => this.#answer(command, signal) } as never, signal),
  };

  async #answer(command: { readonly input: Input }, signal: AbortSignal): Promise<unknown> {
    const { TableName: name, Key } = command.input;
    await new Promise(setImmediate);
    const call = command.constructor.name;
    if (call === 'DescribeTimeToLiveCommand') return {};
    if (call === 'GetItemCommand') return { Item: { by: { S: `p/s ${Key?.['sk']?.S}` }, id: { S: 'arn id' } } };
    this.inFlight += 1;
    this.inFlightMax = Math.max(this.inFlightMax, this.inFlight);
    await this.before(signal);
    this.inFlight -= 1;
    signal.throwIfAborted();
    this.looked.push(name);
    const KeySchema = [{ AttributeName: 'id', KeyType: 'HASH' }];
    return { Table: { TableArn: 'arn', TableId: 'id', KeySchema, AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'N' }] } };
  }
}

function verifiedOf({ client }: Service): VerifiedTables {
  const own = new OwnTable({ client, name: 'own', place: { pipeline: 'p', sink: 's' } });
  return new VerifiedTables({ client, config, own, onRetry: () => undefined });
}

function shapeNamed(name: string): Shape {
  const target = `public.${name}` as TableId;
  return shapeOf(plainSchema(target), { config, pipeline: 'p', sink: 's', target });
}

test('many tables are looked at a few at a time at the start, and then each once a minute at a time of its own', async () => {
  const service = new Service();
  const verified = verifiedOf(service);
  const names = Array.from({ length: TABLES }, (_, at) => `t${at}`);
  const full = Promise.withResolvers<null>();
  // Nobody is answered before as many ask as may, and for a while after that.
  service.before = () => {
    if (service.inFlight >= LOOKS_AT_ONCE) setTimeout(() => full.resolve(null), 20);
    return full.promise.then(() => undefined);
  };
  await Promise.all(names.map((name) => verified.verify(shapeNamed(name), never)));
  service.before = () => Promise.resolve();
  expect(new Set(service.looked).size).toBe(TABLES);
  expect(service.inFlightMax).toBe(LOOKS_AT_ONCE);
  const seconds: string[][] = [];
  for (let second = 1; second <= 180; second += 1) {
    service.looked = [];
    service.nowMs = second * 1_000;
    await verified.verifyAll(never);
    seconds.push(service.looked);
  }
  for (const minute of [0, 60, 120]) {
    const looked = seconds.slice(minute, minute + 60).flat();
    expect(new Set(looked).size).toBe(TABLES);
    // One or two a second on the mean.
    expect(Math.max(...seconds.slice(minute, minute + 60).map(({ length }) => length))).toBeLessThan(TABLES / 10);
  }
  // A pause behind which all are due brings no burst that stays.
  service.nowMs += 10 * MINUTE_MS;
  await verified.verifyAll(never);
  service.looked = [];
  service.nowMs += 1_000;
  await verified.verifyAll(never);
  expect(service.looked.length).toBeLessThan(TABLES / 10);
});

test('a look that its first asker gave up is taken again for those who wait for it too', async () => {
  const service = new Service();
  const verified = verifiedOf(service);
  const asked = Promise.withResolvers<null>();
  const first = new AbortController();
  service.before = (signal) => {
    if (signal !== first.signal) return Promise.resolve();
    asked.resolve(null);
    return new Promise((resolve) => signal.addEventListener('abort', () => resolve()));
  };
  const gaveUp = verified.verify(shapeNamed('t'), first.signal).catch(() => 'gave up');
  await asked.promise;
  const waited = verified.verify(shapeNamed('t'), never);
  first.abort();
  expect(await gaveUp).toBe('gave up');
  expect(await waited).toEqual(new Set());
  expect(service.looked).toEqual(['public.t']);
});
