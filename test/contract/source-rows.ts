// What reads of rows beside the stream have to keep: ranges without gaps or doubles, what a snapshot shows, and marks that come back.
import { expect } from 'vitest';
import { present } from '#core/assert.ts';
import type { SourceMessage } from '#core/event.ts';
import type { RowKey } from '#core/key.ts';
import type { RowRange, RowReader, RowsRead, RowsWanted } from '#core/row-reader.ts';
import type { Source, SourceStream } from '#core/source.ts';
import { ITEMS, type SourceContext } from './source.ts';

type Work = (given: {
  readonly source: Source;
  readonly context: SourceContext;
  readonly rows: RowReader;
  /** The next transactions that the stream shows. */
  readonly shown: (count: number) => Promise<readonly (readonly SourceMessage[])[]>;
  readonly signal: AbortSignal;
}) => Promise<void>;

const plenty = { rowsMax: 1000, bytesMax: 1_000_000 };
const everything: RowRange = { tag: 'between', after: null, upTo: null };

export function rowsContract(name: string, run: (title: string, work: Work) => void): void {
  run(`${name}: a table is read in parts that neither overlap nor leave a row out`, async ({ context, rows, signal }) => {
    const ids = ['a', 'b', 'b ', 'ba', 'c', 'ç', 'd', "e'", 'f\\n', 'z'];
    await context.commit(ids.map((id) => ({ op: 'insert', id, value: `v${id}` })));
    const whole = await read(rows, { range: everything }, signal);
    expect(whole.isWhole).toBe(true);
    const keys = whole.rows.map(({ key }) => key);
    expect(new Set(keys)).toEqual(new Set(ids.map(keyOf)));
    const inParts: RowKey[] = [];
    for (let after: RowKey | null = null; ;) {
      const part: RowsRead = await read(rows, { range: { tag: 'between', after, upTo: null }, rowsMax: 3 }, signal);
      inParts.push(...part.rows.map(({ key }) => key));
      if (part.isWhole) break;
      after = present(part.rows.at(-1), 'a row behind which more lie').key;
    }
    expect(inParts).toEqual(keys);
    const [, second = null, , fourth = null] = keys;
    const between = await read(rows, { range: { tag: 'between', after: second, upTo: fourth } }, signal);
    expect(between.rows.map(({ key }) => key)).toEqual(keys.slice(2, 4));
  });

  run(`${name}: rows by their keys are those that exist`, async ({ context, rows, signal }) => {
    await context.commit(['1', '2', "o'clock"].map((id) => ({ op: 'insert', id, value: `v${id}` })));
    const { rows: found, isWhole } = await read(rows, { range: { tag: 'keys', keys: ['2', "o'clock", 'none'].map(keyOf) } }, signal);
    expect(isWhole).toBe(true);
    expect(new Map(found.map(({ key, row }) => [key, row]))).toEqual(
      new Map([
        [keyOf('2'), ['2', 'v2']],
        [keyOf("o'clock"), ["o'clock", "vo'clock"]],
      ]),
    );
  });

  run(`${name}: a read ends behind the row that reaches its bytes, and the next one goes on`, async ({ context, rows, signal }) => {
    const value = 'x'.repeat(1_000);
    await context.commit(Array.from({ length: 20 }, (_, at) => ({ op: 'insert', id: String(at + 10), value })));
    const cut = await read(rows, { range: everything, bytesMax: 2_500 }, signal);
    expect(cut.isWhole).toBe(false);
    expect(cut.rows.map(({ key }) => key)).toEqual(['10', '11', '12'].map(keyOf));
    const rest = await read(rows, { range: { tag: 'between', after: keyOf('12'), upTo: null } }, signal);
    expect(rest.rows).toHaveLength(17);
  });

  run(`${name}: rows are of the schema that the stream describes, with its values`, async ({ context, rows, shown, signal }) => {
    await context.commit([{ op: 'insert', id: '1', value: 'tab\t, line\n, \\N and ü' }]);
    const [transaction] = await shown(1);
    const change = transaction?.find((message) => message.tag === 'change');
    const found = await read(rows, { range: everything }, signal);
    if (change?.op !== 'insert') throw new Error('an insert was committed');
    expect(found.schema).toEqual(change.schema);
    expect(found.rows).toEqual([{ key: change.key, row: change.row, withheld: null }]);
  });

  run(`${name}: a mark comes back in the stream, behind what was committed before it`, async ({ context, rows, shown, signal }) => {
    await context.commit([{ op: 'insert', id: '1', value: 'a' }]);
    await rows.mark('{"mark":"one"}', signal);
    await context.commit([{ op: 'insert', id: '2', value: 'b' }]);
    const told = (await shown(3)).map((messages) =>
      messages.flatMap((message) => {
        if (message.tag === 'message') return [message.content];
        return message.tag === 'change' ? [message.key] : [];
      }),
    );
    expect(told).toEqual([[keyOf('1')], ['{"mark":"one"}'], [keyOf('2')]]);
  });

  run(`${name}: a snapshot shows what was committed before it, and nothing later`, async ({ context, rows, shown, signal }) => {
    const first = await rows.look(signal);
    await context.commit([{ op: 'insert', id: '1', value: 'a' }]);
    const before = await read(rows, { range: everything }, signal);
    await context.commit([{ op: 'insert', id: '2', value: 'b' }]);
    const transactions = await shown(2);
    const [one = '', two = ''] = transactions.map(([begin]) => (begin?.tag === 'begin' ? begin.transactionId : ''));
    expect(before.rows.map(({ key }) => key)).toEqual([keyOf('1')]);
    expect([before.snapshot.shows(one), before.snapshot.shows(two)]).toEqual([true, false]);
    const times = transactions.map(([begin]) => (begin?.tag === 'begin' ? begin.committedAt : 0));
    expect([times[0], before.readAt, times[1]]).toEqual([times[0], before.readAt, times[1]].toSorted((a = 0, b = 0) => a - b));
    const after = await rows.look(signal);
    expect([first.shows(one), after.shows(one), after.shows(two)]).toEqual([false, true, true]);
    expect([after.showsAllBefore(first), after.showsAllBefore(before.snapshot)]).toEqual([true, true]);
  });

  run(`${name}: nothing is read under a snapshot that is not accepted`, async ({ context, rows, signal }) => {
    await context.commit([{ op: 'insert', id: '1', value: 'a' }]);
    expect(await rows.read({ table: ITEMS, range: everything, ...plenty, accepts: () => false }, signal)).toBeNull();
    expect((await read(rows, { range: everything }, signal)).rows).toHaveLength(1);
  });
}

function keyOf(id: string): RowKey {
  return JSON.stringify([ITEMS, id]) as RowKey;
}

async function read(rows: RowReader, wanted: Pick<RowsWanted, 'range'> & Partial<RowsWanted>, signal: AbortSignal): Promise<RowsRead> {
  return present(await rows.read({ table: ITEMS, ...plenty, accepts: () => true, ...wanted }, signal), 'what was read');
}

/** Gives out the stream's transactions one after the other; heartbeats and schemas alone are none. */
export function transactionsOf(
  stream: SourceStream,
  signal: AbortSignal,
): (count: number) => Promise<readonly (readonly SourceMessage[])[]> {
  const batches = stream.messages(signal)[Symbol.asyncIterator]();
  let open: SourceMessage[] = [];
  const whole: SourceMessage[][] = [];
  return async (count) => {
    while (whole.length < count) {
      const next = await batches.next();
      if (next.done === true) throw new Error('the stream ended');
      for (const message of next.value) {
        if (message.tag === 'keepalive') continue;
        open.push(message);
        if (message.tag !== 'commit') continue;
        whole.push(open);
        open = [];
      }
    }
    return whole.splice(0, count);
  };
}
