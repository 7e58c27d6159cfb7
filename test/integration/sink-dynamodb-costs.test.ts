// What the DynamoDB sink asks of the service for each event: the tables of docs/costs.md, which `-u` writes.
import { format } from 'prettier';
import { beforeEach, expect, test, vi } from 'vitest';
import type { RowChange, SinkPartition } from '#core/sink.ts';
import { deleteAt, partialAt, plainSchema, progressAt, sequenceAt, upsertAt } from '../contract/sink.ts';
import { costsText, type Measured } from '../docs/costs.ts';
import { dynamoDbContext } from '../support/dynamodb-sink-context.ts';
import { DynamoDbMeter } from '../support/dynamodb-meter.ts';
import { describeShared, sharedService } from '../support/services.ts';

const EVENTS = 20;
/** Of a kilobyte or less. */
const SMALL = 'v'.repeat(600);
const LARGE = 'v'.repeat(3_500);

const never = new AbortController().signal;

describeShared('dynamodb', 'docs/costs.md', () => {
  beforeEach(() => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
  });

  test('tells what each kind of event takes', async () => {
    const { endpoint } = await sharedService('dynamodb');
    await using meter = await DynamoDbMeter.create({ endpoint, refusedUnits: 1 });
    await using context = dynamoDbContext(meter.endpoint);
    await using sink = context.open();
    const schema = plainSchema(context.table('costs'));
    await sink.provision([schema], never);
    await sink.claim({ owner: 'o', known: false }, never);
    let partition = await sink.assign(0, never);
    let counter = 0;
    const measured: Measured[] = [];
    const rows = (of: (id: string, sequence: ReturnType<typeof sequenceAt>) => RowChange, commit: number): readonly RowChange[] =>
      Array.from({ length: EVENTS }, (_, id) => of(String(id), sequenceAt(commit)));
    const measure = async (what: string, changes: readonly RowChange[], by: SinkPartition, outcome: string): Promise<void> => {
      counter += 1;
      meter.take();
      const outcomes = await by.apply({ rows: changes, progress: progressAt(counter) }, never);
      expect(new Set(outcomes.map(({ tag }) => tag))).toEqual(new Set([outcome]));
      const taken = meter.take();
      const of = taken.get(schema.table) ?? { calls: 0, writeUnits: 0, readUnits: 0 };
      const [besides = { calls: 0, writeUnits: 0, readUnits: 0 }] = [...taken]
        .filter(([name]) => name !== schema.table)
        .map(([, one]) => one);
      measured.push({ what, events: EVENTS, of, besides });
    };
    // The first batch also looks whether the table is the one that the progress belongs to, and whether its rows are replayed.
    const first = { ...upsertAt(schema, sequenceAt(1), ['-1', 'x', null]), isNew: true } as RowChange;
    await partition.apply({ rows: [first], progress: null }, never);

    await measure(
      'new row',
      rows((id, at) => ({ ...upsertAt(schema, at, [id, 'a', SMALL]), isNew: true }) as RowChange, 10),
      partition,
      'applied',
    );
    const update = rows((id, at) => upsertAt(schema, at, [id, 'b', SMALL]), 20);
    await measure('update', update, partition, 'applied');
    await measure(
      'update without an unchanged large column',
      rows((id, at) => partialAt(schema, at, [id, 'c', undefined]), 30),
      partition,
      'applied',
    );
    await measure('stale event, by the process that wrote the row', update, partition, 'stale');
    await partition[Symbol.asyncDispose]();
    await using other = context.open();
    await other.claim({ owner: 'o', known: true }, never);
    partition = await other.assign(0, never);
    await partition.apply({ rows: [upsertAt(schema, sequenceAt(2), ['-1', 'x', null])], progress: null }, never);
    await measure('stale event, by a process that has just started', update, partition, 'stale');
    await measure('the same once more', update, partition, 'stale');
    await measure(
      'update to a row of 3.6 KB',
      rows((id, at) => upsertAt(schema, at, [id, 'd', LARGE]), 40),
      partition,
      'applied',
    );
    await measure(
      'delete of that row',
      rows((id, at) => deleteAt(schema, at, id), 50),
      partition,
      'applied',
    );
    await partition[Symbol.asyncDispose]();
    const page = await format(costsText(measured), { parser: 'markdown', printWidth: 140, singleQuote: true });
    await expect(page).toMatchFileSnapshot('../../docs/costs.md');
  });
});
