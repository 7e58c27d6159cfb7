// The DynamoDB sink under what the service does and the local store does not: throttled, conflicting, half done, unanswered. Asked through
// the port alone, with the attempts that apply makes: what ends well here ends well whatever requests the sink chooses to send.
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { codeOf } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import type { TableSchema } from '#core/schema.ts';
import type { RowChange, RowOutcome, SinkPartition, SinkRow } from '#core/sink.ts';
import { mergePartial, type Row } from '#core/value.ts';
import {
  batchesOfDistinctKeys,
  deleteAt,
  partialAt,
  plainSchema,
  progressAt,
  scanned,
  sequenceAt,
  tags,
  upsertAt,
} from '../contract/sink.ts';
import { effectsOf, rememberEffects } from '../support/dynamodb-effects.ts';
import { byChance, DynamoDbProxy, type DynamoDbFault, type DynamoDbRequest, type StatementCode } from '../support/dynamodb-proxy.ts';
import { dynamoDbContext } from '../support/dynamodb-sink-context.ts';
import { impossibleEffects } from '../support/impossible-effects.ts';
import { seededRandom } from '../support/random.ts';
import { describeShared, sharedService } from '../support/services.ts';

const never = new AbortController().signal;
const owner = { owner: 'o', known: false };
const attemptsMax = 500;
const keys = 12;
const changes = 80;
/** Of the requests of a test, and how many of them at most: a batch that needs many ends well only where the weather does. */
const share = 0.3;
const most = 40;

const every = (step: number) => (place: number) => place % step === 0;
const statement = (code: StatementCode, tag: 'statements' | 'statements behind the effect' = 'statements'): DynamoDbFault => ({
  tag,
  code,
  strikes: every(2),
});

/** Each test's faults, and the share of requests that meet one. */
const weather: Readonly<Record<string, readonly DynamoDbFault[]>> = {
  'throttling of requests': [
    { tag: 'error', name: 'ProvisionedThroughputExceededException' },
    { tag: 'error', name: 'ThrottlingException' },
    { tag: 'error', name: 'RequestLimitExceeded' },
  ],
  'errors of the service, before the effect and behind it': [
    { tag: 'error', name: 'InternalServerError' },
    { tag: 'error', name: 'ServiceUnavailable' },
    { tag: 'error behind the effect', name: 'InternalServerError' },
    { tag: 'error behind the effect', name: 'ServiceUnavailable' },
  ],
  'conflicts with transactions': [{ tag: 'error', name: 'TransactionConflictException' }, statement('TransactionConflict')],
  'parts of a batch that fail under the status 200': [
    statement('ThrottlingError'),
    statement('ProvisionedThroughputExceeded'),
    statement('RequestLimitExceeded'),
    statement('InternalServerError'),
    statement('InternalServerError', 'statements behind the effect'),
    { tag: 'statements', code: 'ThrottlingError', strikes: () => true },
  ],
  'parts of a batch that are told of a condition': [
    statement('ConditionalCheckFailed'),
    statement('DuplicateItem'),
    statement('ThrottlingError'),
  ],
  'parts of a batch that are left undone': [
    { tag: 'unprocessed', strikes: every(2) },
    { tag: 'unprocessed', strikes: () => true },
  ],
  'connections that end, before the effect and behind it': [{ tag: 'cut' }, { tag: 'lost reply' }],
};

describeShared('dynamodb', 'sink-dynamodb under faults', () => {
  let endpoint: string;
  beforeAll(async () => {
    ({ endpoint } = await sharedService('dynamodb'));
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
  });

  /** A sink behind a proxy of its own, a second one that has none, and one table of theirs. */
  async function ground(over: Readonly<Record<string, unknown>> = {}) {
    const opened = new AsyncDisposableStack();
    const proxy = opened.use(await DynamoDbProxy.create(endpoint));
    const context = opened.use(dynamoDbContext(endpoint, over));
    const struck = opened.use(context.openAt(proxy.endpoint));
    const free = opened.use(context.open());
    const schema = plainSchema(context.table('plain'));
    await struck.provision([schema], never);
    const place = { endpoint, region: 'eu-west-1', accessKeyId: 'test' };
    await rememberEffects(place, schema.table);
    for (const sink of [struck, free]) await sink.claim(owner, never);
    const partition = opened.use(await struck.assign(0, never));
    const beside = opened.use(await free.assign(1, never));
    return {
      ...{ proxy, context, schema, partition, beside, free },
      rows: (): Promise<readonly SinkRow[]> => scanned(free, schema, never),
      /** Effects that a register cannot have had. */
      impossible: async () => impossibleEffects(await effectsOf(place, schema.table)),
      [Symbol.asyncDispose]: () => opened.disposeAsync(),
    };
  }

  describe.concurrent('whatever befalls requests', () => {
    // First, because it takes as long as a request may: the others run beside it.
    test(
      'a request that is never answered ends by itself, and the same call then takes effect, or finds that it had',
      { timeout: 40_000 },
      async () => {
        await using at = await ground();
        const rows = Array.from({ length: 10 }, (_, id) => upsertAt(at.schema, sequenceAt(1), [String(id), 'x', null]));
        let writes = 0;
        at.proxy.onRequest = ({ writes: isWrite }) => {
          if (!isWrite || writes === 2) return null;
          writes += 1;
          return { tag: writes === 1 ? 'silence' : 'hang' };
        };
        const code = await at.partition.apply({ rows, progress: progressAt(1) }, never).then(
          () => 'nothing',
          (error: unknown) => codeOf(error),
        );
        // One that tries again by itself is as good.
        expect(['sink_unavailable', 'nothing']).toContain(code);
        expect(at.proxy.heal()).toBeGreaterThan(0);
        await attempted(at.partition, rows, 1);
        expect(await at.rows()).toHaveLength(10);
        expect(await at.impossible()).toEqual({ repeated: [], falling: [], gone: [] });
      },
    );

    test('two appliers with shuffled and repeated batches end as the newest event of each key', async () => {
      await using at = await ground();
      const random = seededRandom(271_828);
      const history = historyOf(at.schema, random).filter(({ tag }) => tag !== 'partial');
      at.proxy.onRequest = byChance(random, { faults: Object.values(weather).flat(), share, most });
      await Promise.all(
        [at.partition, at.beside].map(async (applier) => {
          const shuffled = [...history, ...history].map((row) => ({ row, at: random() })).toSorted((a, b) => a.at - b.at);
          for (const rows of batchesOfDistinctKeys(shuffled.map(({ row }) => row))) await attempted(applier, rows, null);
        }),
      );
      expect(at.proxy.heal()).toBeGreaterThan(5);
      expect(new Set(await at.rows())).toEqual(new Set(endOf(history)));
      expect(await at.impossible()).toEqual({ repeated: [], falling: [], gone: [] });
    });

    test('a row that is refused for ever parks alone, and what the service could not take then is none', async () => {
      await using at = await ground();
      const random = seededRandom(314_159);
      at.proxy.onRequest = byChance(random, { faults: Object.values(weather).flat(), share, most });
      const rows = Array.from({ length: 40 }, (_, id) =>
        upsertAt(at.schema, sequenceAt(1), [String(id), id % 10 === 3 ? 'x'.repeat(500_000) : 'fits', null]),
      );
      const outcomes = tags(await attempted(at.partition, rows, 1));
      expect(at.proxy.heal()).toBeGreaterThan(0);
      expect(outcomes.map((tag) => tag === 'value_refused')).toEqual(rows.map((_, id) => id % 10 === 3));
      expect(await at.rows()).toHaveLength(36);
    });

    test('a stop does not wait for an answer, nor for throttling to end', async () => {
      await using at = await ground();
      const rows = [upsertAt(at.schema, sequenceAt(1), ['1', 'x', null])];
      for (const fault of [{ tag: 'hang' }, { tag: 'error', name: 'ThrottlingException' }] as const) {
        const stop = new AbortController();
        at.proxy.onRequest = ({ writes }) => {
          if (!writes) return null;
          stop.abort(new Error('enough'));
          return fault;
        };
        await expect(attempted(at.partition, rows, 1, stop.signal)).rejects.toThrow('enough');
        at.proxy.heal();
      }
      expect(tags(await attempted(at.partition, rows, 1))).toEqual(['applied']);
    });
  });

  describe.concurrent('a history that is applied in order', () => {
    test.for(Object.entries(weather))('under %s', async ([name, faults]) => {
      await using at = await ground();
      const random = seededRandom(name.length);
      const history = historyOf(at.schema, random);
      at.proxy.onRequest = byChance(random, { faults, share, most });
      let offset = 0;
      for (const rows of batchesOfDistinctKeys(history)) {
        offset += 1;
        const outcomes = await attempted(at.partition, rows, offset);
        // What took effect before its answer was lost is found again: both are a success.
        for (const { tag } of outcomes) expect(['applied', 'stale']).toContain(tag);
      }
      expect(at.proxy.heal()).toBeGreaterThan(5);
      expect(new Set(await at.rows())).toEqual(new Set(endOf(history)));
      expect(await at.impossible()).toEqual({ repeated: [], falling: [], gone: [] });
      expect((await at.free.progress(never)).get(0)).toEqual(progressAt(offset));
      // The same from the start, without faults: nothing was forgotten, and nothing changes.
      for (const rows of batchesOfDistinctKeys(history))
        expect(new Set(tags(await at.partition.apply({ rows, progress: null }, never)))).toEqual(new Set(['stale']));
      expect(await at.impossible()).toEqual({ repeated: [], falling: [], gone: [] });
    });
  });

  /** Another process writes between what the sink has read, or has decided, and its write. */
  describe.concurrent('a write that comes late', () => {
    const upsert =
      (commit: number, row: Row) =>
      (schema: TableSchema): RowChange =>
        upsertAt(schema, sequenceAt(commit), row);
    const partial =
      (commit: number, row: Row) =>
      (schema: TableSchema): RowChange =>
        partialAt(schema, sequenceAt(commit), row);
    const remove =
      (commit: number) =>
      (schema: TableSchema): RowChange =>
        deleteAt(schema, sequenceAt(commit), '1');
    const some = [upsert(1, ['1', 'base', 'large'])];

    const races = [
      [
        'an insert behind a newer one is stale',
        [],
        upsert(5, ['1', 'late', null]),
        upsert(6, ['1', 'newer', null]),
        'stale',
        6,
        ['1', 'newer', null],
      ],
      [
        'an insert behind an older one takes effect',
        [],
        upsert(5, ['1', 'late', null]),
        upsert(4, ['1', 'older', 'x']),
        'applied',
        5,
        ['1', 'late', null],
      ],
      [
        'an insert behind its own effect is stale',
        [],
        upsert(5, ['1', 'same', null]),
        upsert(5, ['1', 'same', null]),
        'stale',
        5,
        ['1', 'same', null],
      ],
      ['an insert behind a newer delete is stale', [], upsert(5, ['1', 'late', null]), remove(6), 'stale', 6, null],
      [
        'an update behind a newer one is stale',
        some,
        upsert(5, ['1', 'late', null]),
        upsert(6, ['1', 'newer', null]),
        'stale',
        6,
        ['1', 'newer', null],
      ],
      [
        'an update behind an older one takes effect',
        some,
        upsert(5, ['1', 'late', null]),
        upsert(4, ['1', 'older', 'x']),
        'applied',
        5,
        ['1', 'late', null],
      ],
      ['an update behind an older delete takes effect', some, upsert(5, ['1', 'late', null]), remove(4), 'applied', 5, ['1', 'late', null]],
      ['a delete behind a newer update is stale', some, remove(5), upsert(6, ['1', 'newer', null]), 'stale', 6, ['1', 'newer', null]],
      ['a delete behind an older update takes effect', some, remove(5), upsert(4, ['1', 'older', 'x']), 'applied', 5, null],
      [
        'a partial image behind a newer one is stale',
        some,
        partial(5, ['1', 'late', undefined]),
        upsert(6, ['1', 'newer', null]),
        'stale',
        6,
        ['1', 'newer', null],
      ],
      [
        'a partial image behind an older one merges over that',
        some,
        partial(5, ['1', 'late', undefined]),
        upsert(4, ['1', 'older', 'x']),
        'applied',
        5,
        ['1', 'late', 'x'],
      ],
      [
        'a partial image behind an older delete has no base',
        some,
        partial(5, ['1', 'late', undefined]),
        remove(4),
        'partial_without_base',
        4,
        null,
      ],
    ] as const;
    const ways = (['batches', 'single'] as const).flatMap((writes) =>
      races.map((race) => [`${writes}: ${race[0]}`, writes, race] as const),
    );
    test.for(ways)('%s', async ([, writes, [, before, held, other, outcome, commit, row]]) => {
      await using at = await ground({ writes });
      const { schema, beside } = at;
      await beside.apply({ rows: before.map((change) => change(schema)), progress: null }, never);
      const arrived = Promise.withResolvers<undefined>();
      const done = Promise.withResolvers<null>();
      let isFirst = true;
      at.proxy.onRequest = (request) => {
        if (!isFirst || !request.writes || !isOf(request, schema.table)) return null;
        isFirst = false;
        arrived.resolve(undefined);
        return done.promise;
      };
      const late = attempted(at.partition, [held(schema)], null);
      await Promise.race([arrived.promise, late]);
      expect(isFirst).toBe(false);
      await beside.apply({ rows: [other(schema)], progress: null }, never);
      done.resolve(null);
      expect(tags(await late)).toEqual([outcome]);
      expect(await at.rows()).toMatchObject([{ sequence: sequenceAt(commit), row }]);
      expect(await at.impossible()).toEqual({ repeated: [], falling: [], gone: [] });
    });
  });
});

/** What apply does with an error that lasts for a while, without the wait. */
async function attempted(
  partition: SinkPartition,
  rows: readonly RowChange[],
  offset: number | null,
  signal = never,
): Promise<readonly RowOutcome[]> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await partition.apply({ rows, progress: offset === null ? null : progressAt(offset) }, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!['sink_unavailable', 'sink_throttled'].includes(codeOf(error)) || attempt === attemptsMax) throw error;
    }
  }
}

/** Inserts, updates, partial updates and deletes of a few keys, each possible after the ones before it. */
function historyOf(schema: TableSchema, random: () => number): readonly RowChange[] {
  const live = new Set<string>();
  return Array.from({ length: changes }, (_, at): RowChange => {
    const key = String(Math.floor(random() * keys));
    const sequence = sequenceAt(at + 1);
    const draw = random();
    if (live.has(key) && draw < 0.25) {
      live.delete(key);
      return deleteAt(schema, sequence, key);
    }
    if (live.has(key) && draw < 0.5) return partialAt(schema, sequence, [key, `part ${String(at)}`, undefined]);
    live.add(key);
    return upsertAt(schema, sequence, [key, `whole ${String(at)}`, `large ${String(at)}`]);
  });
}

function endOf(history: readonly RowChange[]): readonly SinkRow[] {
  const rows = new Map<RowKey, SinkRow>();
  for (const change of history) {
    const { key, sequence } = change;
    const before = rows.get(key)?.row ?? null;
    const image = change.tag === 'delete' ? null : change.row;
    const row = change.tag === 'partial' && before !== null ? mergePartial(before, change.row) : image;
    rows.set(key, { key, sequence, row });
  }
  return [...rows.values()];
}

function isOf({ body }: DynamoDbRequest, table: string): boolean {
  return JSON.stringify(body).includes(table);
}
