// What DynamoDB Local does not do: throttling, statements that fail one by one, keys that are left unprocessed.
import type { AttributeValue, BatchStatementErrorCodeEnum } from '@aws-sdk/client-dynamodb';
import { describe, expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import type { MonoMs, WallMs } from '#core/position.ts';
import type { TableId, TableSchema } from '#core/schema.ts';
import type { RowChange, RowOutcome } from '#core/sink.ts';
import type { Sender } from '../../../connectors/sink-dynamodb/client.ts';
import { configSchema } from '../../../connectors/sink-dynamodb/config.ts';
import { shapeOf } from '../../../connectors/sink-dynamodb/shape.ts';
import { TableWriter } from '../../../connectors/sink-dynamodb/table-writer.ts';
import type { Item } from '../../../connectors/lib/dynamodb/send.ts';
import { dynamoError } from '../../../connectors/lib/dynamodb/errors.ts';
import { codeThrown, contractColumn, contractSchema, deleteAt, partialAt, plainSchema, sequenceAt, upsertAt } from '../../contract/sink.ts';

const never = new AbortController().signal;
const schema = plainSchema('public.t' as TableId);
const text = { tag: 'text' } as const;

type Statement = { readonly Statement: string; readonly Parameters: readonly AttributeValue[] };
type Input = {
  readonly Item?: Item;
  readonly Statements?: readonly Statement[];
  readonly RequestItems?: Readonly<Record<string, { readonly Keys: readonly Item[] }>>;
};

/** A table that follows conditions on sequences, and answers otherwise where a test says so. */
class Store {
  readonly items = new Map<string, Item>();
  /** One for each request: its kind, and how many rows it named. */
  readonly calls: string[] = [];
  readonly slept: number[] = [];
  readonly retried: string[] = [];
  rowsInFlight = 0;
  rowsInFlightMax = 0;
  /** A code for a statement of the key, or `silence` for no answer to it; null lets it be. */
  statement: (id: string) => BatchStatementErrorCodeEnum | 'silence' | null = () => null;
  /** The name of the error that a request ends with. */
  request: (kind: string) => string | null = () => null;
  unprocessed: (id: string) => boolean = () => false;
  #nowMs = 0;

  readonly client: Sender = {
    runtime: {
      monotonicMs: () => this.#nowMs as MonoMs,
      wallMs: () => this.#nowMs as WallMs,
      random: () => 0.5,
      sleep: async (ms) => {
        const dueMs = this.#nowMs + ms;
        this.slept.push(ms);
        await new Promise(setImmediate);
        this.#nowMs = Math.max(this.#nowMs, dueMs);
      },
    },
    send: async (what, _signal, work) => {
      try {
        return await work({ send: (command: { readonly input: Input }) => this.#answer(command) } as never, never);
      } catch (error) {
        if (error instanceof Error && error.name === 'ValueRefused') throw error;
        throw dynamoError(error, { role: 'sink', what, region: 'eu-west-1' });
      }
    },
  };

  async #answer(command: { readonly input: Input }): Promise<unknown> {
    const kind = command.constructor.name.replace('Command', '');
    const { Item: put, Statements, RequestItems } = command.input;
    const rows = Statements?.length ?? RequestItems?.['public.t']?.Keys.length ?? 1;
    this.calls.push(`${kind} ${rows}`);
    this.rowsInFlight += rows;
    this.rowsInFlightMax = Math.max(this.rowsInFlightMax, this.rowsInFlight);
    await new Promise(setImmediate);
    this.rowsInFlight -= rows;
    const refusal = this.request(kind);
    if (refusal !== null) throw Object.assign(new Error('refused'), { name: refusal, $metadata: { httpStatusCode: 400 } });
    if (kind === 'PutItem') return this.#put(present(put, 'an item'));
    if (kind === 'GetItem') return { Item: this.items.get(idIn((command.input as unknown as { readonly Key: Item }).Key)) };
    if (kind === 'BatchGetItem') return this.#read(present(RequestItems?.['public.t'], 'keys').Keys);
    return { Responses: present(Statements, 'statements').flatMap((one) => this.#execute(one)) };
  }

  #put(item: Item): unknown {
    const there = this.items.get(idIn(item));
    if (there !== undefined && sequenceIn(there) >= sequenceIn(item)) {
      throw Object.assign(new Error('refused'), { name: 'ConditionalCheckFailedException', Item: there });
    }
    this.items.set(idIn(item), item);
    return {};
  }

  #read(keys: readonly Item[]): unknown {
    const left = keys.filter((key) => this.unprocessed(idIn(key)));
    const read = keys.filter((key) => !left.includes(key));
    return {
      Responses: { 'public.t': read.map((key) => this.items.get(idIn(key))).filter((item) => item !== undefined) },
      UnprocessedKeys: left.length > 0 ? { 'public.t': { Keys: left } } : {},
    };
  }

  #execute({ Statement: words, Parameters: values }: Statement): readonly unknown[] {
    const names = [...words.matchAll(/(?:SET |')"?([^"' ]+)"?'?(?:: | = )\?/g)].map((found) => present(found[1], 'a name'));
    const isInsert = words.startsWith('INSERT');
    const set = Object.fromEntries(names.map((name, at) => [name, present(values[at], name)]));
    const id = isInsert ? idIn(set) : present(values[names.length]?.N, 'the id');
    const told = this.statement(id);
    if (told === 'silence') return [];
    if (told !== null) return [{ Error: { Code: told, Message: 'arn' }, TableName: 'public.t' }];
    const there = this.items.get(id);
    if (isInsert && there !== undefined) return [{ Error: { Code: 'DuplicateItem' } }];
    const isGuarded = / AND "cw_seq" = \?$/.test(words);
    if (!isInsert && (there === undefined || (isGuarded && sequenceIn(there) !== textIn(values.at(-1))))) {
      return [{ Error: { Code: 'ConditionalCheckFailed' } }];
    }
    const removed = [...words.matchAll(/REMOVE "([^"]+)"/g)].map((found) => found[1]);
    const kept = Object.entries(there ?? {}).filter(([name]) => !removed.includes(name));
    this.items.set(id, { ...Object.fromEntries(kept), ...set, id: { N: id } });
    return [{ TableName: 'public.t' }];
  }
}

const textIn = (value: AttributeValue | undefined): string => Buffer.from(value?.B ?? []).toString('hex');
const sequenceIn = (item: Item): string => textIn(item['cw_seq']);
const idIn = (item: Item): string => present(item['id']?.N, 'the id');

function made(over: Readonly<Record<string, unknown>> = {}) {
  const store = new Store();
  const config = configSchema.parse({ kind: 'dynamodb', region: 'eu-west-1', ...over });
  const writer = new TableWriter({
    client: store.client,
    config,
    tableName: 'public.t',
    aloneRowsMax: 0,
    onRetry: (code) => store.retried.push(code),
  });
  const shapes = new Map<TableSchema, ReturnType<typeof shapeOf>>();
  const shape = (of: TableSchema) => {
    const known = shapes.get(of) ?? shapeOf(of, { config, pipeline: 'p', sink: 's', target: of.table });
    shapes.set(of, known);
    return known;
  };
  const write = async (changes: readonly RowChange[]): Promise<readonly RowOutcome['tag'][]> => {
    store.calls.length = 0;
    const outcomes = await writer.write(
      changes.map((change) => ({ change, shape: shape(change.schema) })),
      never,
    );
    return outcomes.map(({ tag }) => tag);
  };
  return { store, write };
}

const rows = (count: number, commit: number): RowChange[] =>
  Array.from({ length: count }, (_, id) => upsertAt(schema, sequenceAt(commit), [String(id), `a${commit}`, null]));
const fresh = (count: number, commit: number): RowChange[] => rows(count, commit).map((row) => ({ ...row, isNew: true }) as RowChange);
const all = (count: number, tag: RowOutcome['tag']): RowOutcome['tag'][] => Array.from({ length: count }, () => tag);

describe('rows that go together', () => {
  test('are looked at, except new ones for as long as nothing is there', async () => {
    const { store, write } = made();
    expect(await write(fresh(30, 1))).toEqual(all(30, 'applied'));
    expect(store.calls).toEqual(['BatchGetItem 30', 'BatchExecuteStatement 25', 'BatchExecuteStatement 5']);
    const others = fresh(30, 1).map((row) => ({ ...row, key: row.key.replace('"]', '00"]') as RowChange['key'] }));
    expect(await write([...others, ...rows(5, 2)])).toEqual(all(35, 'applied'));
    expect(store.calls).toEqual(['BatchGetItem 5', 'BatchExecuteStatement 25', 'BatchExecuteStatement 10']);
    // What is replayed is found out by the first of its batches.
    expect(await write(fresh(30, 1))).toEqual(all(30, 'stale'));
    expect(store.calls.slice(0, 3)).toEqual(['BatchExecuteStatement 25', 'BatchExecuteStatement 5', 'PutItem 1']);
    expect(await write(fresh(30, 1))).toEqual(all(30, 'stale'));
    expect(store.calls).toEqual(['BatchGetItem 30']);
  });

  test('replace what is there: an attribute that the new item has not goes away', async () => {
    const { store, write } = made();
    const wide = contractSchema(schema.table, [...schema.columns, contractColumn('gone', 'text', text)]);
    await write([upsertAt(wide, sequenceAt(1), ['1', 'x', 'y', 'z']), upsertAt(wide, sequenceAt(1), ['2', 'x', 'y', 'z'])]);
    expect(await write([upsertAt(schema, sequenceAt(2), ['1', 'x2', null]), deleteAt(schema, sequenceAt(2), '2')])).toEqual(
      all(2, 'applied'),
    );
    expect(store.calls).toEqual(['BatchGetItem 2', 'BatchExecuteStatement 2']);
    expect(await write([upsertAt(schema, sequenceAt(3), ['1', 'x3', null]), upsertAt(wide, sequenceAt(3), ['2', 'r', 's', 't'])])).toEqual(
      all(2, 'applied'),
    );
    expect(store.calls).toEqual(['BatchGetItem 2', 'BatchExecuteStatement 2']);
    expect(Object.keys(present(store.items.get('1'), 'an item')).toSorted()).toEqual(['a', 'big', 'cw_seq', 'id']);
    expect(Object.keys(present(store.items.get('2'), 'an item')).toSorted()).toEqual(['a', 'big', 'cw_seq', 'gone', 'id']);
    expect(await write([deleteAt(schema, sequenceAt(4), '2'), upsertAt(schema, sequenceAt(4), ['1', 'x4', null])])).toEqual(
      all(2, 'applied'),
    );
    expect(store.calls).toEqual(['BatchGetItem 2', 'BatchExecuteStatement 2']);
    expect(Object.keys(present(store.items.get('2'), 'an item')).toSorted()).toEqual(['cw_deleted', 'cw_seq', 'id']);
  });

  test('and are all stale cost reads alone', async () => {
    const { store, write } = made({ inFlightRows: 1_000 });
    await write(rows(1_000, 5));
    expect(await write(rows(1_000, 4))).toEqual(all(1_000, 'stale'));
    expect(await write(rows(1_000, 5))).toEqual(all(1_000, 'stale'));
    expect(store.calls.every((call) => call.startsWith('BatchGetItem'))).toBe(true);
    expect(store.calls).toHaveLength(10);
  });

  test('one by one, are read first only while some of them are stale', async () => {
    const { store, write } = made({ writes: 'single' });
    await write(rows(10, 5));
    await write(rows(10, 6));
    expect(store.calls).toEqual(all(10, 'applied').map(() => 'PutItem 1'));
    expect(await write(rows(10, 5))).toEqual(all(10, 'stale'));
    expect(await write(rows(10, 5))).toEqual(all(10, 'stale'));
    expect(store.calls).toEqual(['BatchGetItem 10']);
  });

  test('have partial images merged over what was read', async () => {
    const { store, write } = made();
    await write(rows(3, 1));
    await write(rows(3, 2));
    const partial = partialAt(schema, sequenceAt(3), ['1', undefined, 'new']);
    expect(await write([partial, partialAt(schema, sequenceAt(3), ['9', 'x', undefined])])).toEqual(['applied', 'rejected']);
    expect(store.items.get('1')).toMatchObject({ a: { S: 'a2' }, big: { S: 'new' } });
    expect(store.calls).toEqual(['BatchGetItem 2', 'BatchExecuteStatement 1', 'GetItem 1']);
  });

  test('go alone where their names make no statement', async () => {
    const { store, write } = made();
    const quoted = contractSchema(schema.table, [...schema.columns, contractColumn(`it's`, 'text', text)]);
    const many = Array.from({ length: 600 }, (_, at) => contractColumn(`a_long_name_of_a_column_${at}`, 'text', text));
    const long = contractSchema(schema.table, [...schema.columns, ...many]);
    const wide = upsertAt(long, sequenceAt(1), ['2', 'x', 'y', ...many.map(() => 'z')]);
    expect(await write([upsertAt(quoted, sequenceAt(1), ['1', 'x', 'y', 'z']), wide])).toEqual(all(2, 'applied'));
    expect(store.calls).toEqual(['BatchGetItem 2', 'PutItem 1', 'PutItem 1']);
  });
});

describe('what the service does not take', () => {
  const codes = [
    'ThrottlingError',
    'ProvisionedThroughputExceeded',
    'RequestLimitExceeded',
    'InternalServerError',
    'TransactionConflict',
    'silence',
  ] as const;
  test.each(codes)('is sent again: a statement with %s', async (code) => {
    const { store, write } = made();
    let left = 3;
    // No answer of its own is the last one's: the answers have no names.
    store.statement = (id) => (id === '9' && (left -= 1) >= 0 ? code : null);
    expect(await write(rows(10, 1))).toEqual(all(10, 'applied'));
    expect(store.items.size).toBe(10);
    expect(store.retried).toHaveLength(3);
    const throttles = new Set<string>(['ThrottlingError', 'ProvisionedThroughputExceeded', 'RequestLimitExceeded']);
    expect(store.retried[0]).toBe(throttles.has(code) ? 'sink_throttled' : 'sink_unavailable');
  });

  test.each(['ProvisionedThroughputExceededException', 'ThrottlingException', 'RequestLimitExceeded'])(
    'is sent again: a request with %s',
    async (name) => {
      const { store, write } = made();
      let left = 2;
      store.request = (kind) => (kind === 'BatchExecuteStatement' && (left -= 1) >= 0 ? name : null);
      expect(await write(rows(60, 1))).toEqual(all(60, 'applied'));
      left = 2;
      store.request = (kind) => (kind === 'BatchGetItem' && (left -= 1) >= 0 ? name : null);
      expect(await write(rows(60, 1))).toEqual(all(60, 'stale'));
      left = 2;
      store.request = (kind) => (kind === 'PutItem' && (left -= 1) >= 0 ? name : null);
      store.unprocessed = () => true;
      expect(await write(rows(60, 2))).toEqual(all(60, 'applied'));
      expect(store.retried.length).toBeGreaterThanOrEqual(3);
      expect(new Set(store.retried)).toEqual(new Set(['sink_throttled']));
    },
  );

  test.each(['ConditionalCheckFailed', 'DuplicateItem', 'ValidationError', 'ItemCollectionSizeLimitExceeded'] as const)(
    'is decided by a put: a statement with %s',
    async (code) => {
      const { store, write } = made();
      store.statement = () => code;
      expect(await write(rows(3, 2))).toEqual(all(3, 'applied'));
      expect(store.calls).toEqual(['BatchGetItem 3', 'BatchExecuteStatement 3', 'PutItem 1', 'PutItem 1', 'PutItem 1']);
      expect(store.retried).toEqual([]);
    },
  );

  test('keys that were not read are put', async () => {
    const { store, write } = made();
    await write(rows(4, 2));
    store.unprocessed = (id) => id === '1' || id === '2';
    expect(await write([...rows(2, 1), ...rows(4, 3).slice(2)])).toEqual(['stale', 'stale', 'applied', 'applied']);
  });

  test('a batch in which one statement cannot be read is put row by row', async () => {
    const { store, write } = made();
    store.request = (kind) => (kind === 'BatchExecuteStatement' ? 'ValidationException' : null);
    expect(await write(rows(3, 2))).toEqual(all(3, 'applied'));
  });

  test('for want of a right or a table stops the sink', async () => {
    const { store, write } = made();
    store.statement = () => 'AccessDenied';
    expect(await codeThrown(write(rows(3, 1)))).toBe('sink_credentials');
    store.statement = () => 'ResourceNotFound';
    expect(await codeThrown(write(rows(3, 1)))).toBe('sink_misconfigured');
  });

  test('for half a minute is told, and everything that still waited ends', async () => {
    const { store, write } = made({ inFlightRows: 10 });
    store.statement = () => 'ThrottlingError';
    const error = await write(rows(30, 1)).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(CausewayError);
    expect((error as CausewayError).code).toBe('sink_throttled');
    expect(store.slept.reduce((sum, ms) => sum + ms, 0)).toBeGreaterThan(30_000);
  });
});

describe('the pace', () => {
  test('falls while most is throttled, and never more rows are on their way than it lets', async () => {
    const { store, write } = made({ inFlightRows: 64 });
    await write(rows(200, 1));
    expect(store.rowsInFlightMax).toBeLessThanOrEqual(64);
    let throttles = 400;
    store.statement = () => ((throttles -= 1) >= 0 ? 'ThrottlingError' : null);
    expect(await write(rows(200, 2))).toEqual(all(200, 'applied'));
    store.rowsInFlightMax = 0;
    await write(rows(20, 3));
    expect(store.rowsInFlightMax).toBeLessThan(64);
  });

  test('is that of writes: rows whose read is throttled wait, and no others are read again', async () => {
    const { store, write } = made({ inFlightRows: 400 });
    await write(rows(400, 1));
    await write(rows(400, 2));
    let left = 3;
    store.request = (kind) => (kind === 'BatchGetItem' && (left -= 1) >= 0 ? 'ThrottlingException' : null);
    expect(await write(rows(400, 3))).toEqual(all(400, 'applied'));
    const asked = store.calls.filter((call) => call.startsWith('BatchGetItem')).map((call) => Number(call.split(' ')[1]));
    expect(asked.reduce((sum, one) => sum + one, 0)).toBe(400 + 3 * 100);
    expect(store.retried).toEqual(['sink_throttled', 'sink_throttled', 'sink_throttled']);
  });

  test('holds for what is tried again too: in pieces that fall with it', async () => {
    const { store, write } = made({ inFlightRows: 400 });
    await write(rows(400, 1));
    await write(rows(400, 2));
    let throttles = 1_500;
    store.statement = () => ((throttles -= 1) >= 0 ? 'ThrottlingError' : null);
    expect(await write(rows(400, 3))).toEqual(all(400, 'applied'));
    const read = store.calls.filter((call) => call.startsWith('BatchGetItem')).map((call) => Number(call.split(' ')[1]));
    expect(Math.min(...read)).toBeLessThan(50);
  });

  test('follows the size of what is read: large items go a few at a time', async () => {
    const { store, write } = made({ inFlightRows: 1_000 });
    const large = Array.from({ length: 60 }, (_, id) => upsertAt(schema, sequenceAt(1), [String(id), 'x'.repeat(300_000), null]));
    await write(large);
    await write(large.map((row) => ({ ...row, sequence: sequenceAt(2) })));
    store.rowsInFlightMax = 0;
    expect(await write(rows(60, 3).map(({ key }) => ({ tag: 'delete', schema, key, sequence: sequenceAt(3) })))).toEqual(
      all(60, 'applied'),
    );
    expect(store.rowsInFlightMax * 300_000).toBeLessThan(20_000_000);
  });

  test('waits for a hot key alone', async () => {
    const { store, write } = made({ inFlightRows: 1_000 });
    await write(rows(1_000, 1));
    const before = store.calls.length;
    let left = 4;
    store.statement = (id) => (id === '7' && (left -= 1) >= 0 ? 'ThrottlingError' : null);
    expect(await write(rows(1_000, 2))).toEqual(all(1_000, 'applied'));
    expect(store.slept).toHaveLength(4);
    // Each attempt after the first is for one row.
    expect(store.calls.filter((call) => call === 'BatchExecuteStatement 1')).toHaveLength(4);
    expect(before).toBeGreaterThan(0);
  });
});
