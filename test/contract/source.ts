// What every source has to keep: order, sequences, what comes again after a reconnect, and what an acknowledgement moves.
import { expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import type { SourceChange, SourceMessage } from '#core/event.ts';
import type { Position } from '#core/position.ts';
import type { TableId } from '#core/schema.ts';
import { MESSAGE_PREFIX, type Source, type SourceStream } from '#core/source.ts';
import { rowsContract, transactionsOf } from './source-rows.ts';

/** A database with one captured table `public.items (id, value)`, its first column the key, and empty. */
export type SourceContext = AsyncDisposable & {
  /** Another Source over the same database and slot, as a new process would make one. */
  source(): Source;
  /** One transaction. */
  commit(rows: readonly ItemChange[]): Promise<void>;
};

export type ItemChange =
  | { readonly op: 'insert' | 'update'; readonly id: string; readonly value: string }
  | { readonly op: 'delete'; readonly id: string }
  | { readonly op: 'truncate' };

export const ITEMS = 'public.items' as TableId;

const DEADLINE_MS = 60_000;

type Transaction = readonly SourceMessage[];

export function sourceContract(name: string, makeContext: () => Promise<SourceContext>): void {
  const withSource = async (work: (source: Source, context: SourceContext, signal: AbortSignal) => Promise<void>): Promise<void> => {
    const signal = AbortSignal.timeout(DEADLINE_MS);
    await using context = await makeContext();
    await using source = context.source();
    await source.provision('create', signal);
    await work(source, context, signal);
  };

  rowsContract(name, (title, work) => {
    test(title, async () => {
      await withSource(async (source, context, signal) => {
        await using stream = await source.open(signal);
        await using rows = source.rows();
        await work({ source, context, rows, shown: transactionsOf(stream, signal), signal });
      });
    });
  });

  test(`${name}: a slot is made once, where the log is, and kept`, async () => {
    await withSource(async (source, context, signal) => {
      const facts = await source.inspect(signal);
      expect(facts.refused).toEqual([]);
      expect(facts.tables.map(({ schema, holdsRows }) => [schema.table, schema.key, holdsRows])).toEqual([[ITEMS, [0], false]]);
      const slot = facts.slot?.position as Position;
      expect(facts.slot).toMatchObject({ active: false, unusable: null });
      expect(source.comparePositions(slot, facts.head)).toBeLessThanOrEqual(0);
      await source.provision('keep', signal);
      await source.provision('create', signal);
      expect((await source.inspect(signal)).slot?.position).toBe(slot);
      await context.commit([{ op: 'insert', id: '1', value: 'a' }]);
      const again = await source.provision('recreate', signal);
      expect(source.comparePositions(again as Position, slot)).toBeGreaterThan(0);
      expect((await source.inspect(signal)).tables[0]?.holdsRows).toBe(true);
    });
  });

  test(`${name}: transactions come whole, in commit order, with rising places, and a schema before the first change`, async () => {
    await withSource(async (source, context, signal) => {
      await context.commit([
        { op: 'insert', id: '1', value: 'a' },
        { op: 'insert', id: '2', value: 'b' },
      ]);
      await context.commit([
        { op: 'update', id: '1', value: 'c' },
        { op: 'delete', id: '2' },
      ]);
      await context.commit([{ op: 'truncate' }]);
      await using stream = await source.open(signal);
      const transactions = await read(stream, { transactions: 3 }, signal);
      expect(transactions.map((messages) => messages.map(({ tag }) => tag))).toEqual([
        ['begin', 'schema', 'change', 'change', 'commit'],
        ['begin', 'change', 'change', 'commit'],
        ['begin', 'truncate', 'commit'],
      ]);
      expect(transactions.flatMap(changesOf).map(({ tag: _tag, schema: _schema, change: _change, ...said }) => said)).toEqual([
        { op: 'insert', key: '["public.items","1"]', row: ['1', 'a'] },
        { op: 'insert', key: '["public.items","2"]', row: ['2', 'b'] },
        { op: 'update', key: '["public.items","1"]', row: ['1', 'c'], oldKey: null },
        { op: 'delete', key: '["public.items","2"]' },
      ]);
      assertRising(transactions);
      assertPositionsRise(source, transactions);
    });
  });

  test(`${name}: what was not acknowledged comes again, byte for byte the same`, async () => {
    await withSource(async (source, context, signal) => {
      for (let index = 0; index < 5; index += 1) await context.commit([{ op: 'insert', id: String(index), value: `v${index}` }]);
      const first = await readAll(source, 5, signal);
      const second = await readAll(source, 5, signal);
      expect(second).toEqual(first);
      await using other = context.source();
      await other.inspect(signal);
      expect(await readAll(other, 5, signal)).toEqual(first);
    });
  });

  test(`${name}: an acknowledgement moves the slot to the end of that transaction, and the next one comes first`, async () => {
    await withSource(async (source, context, signal) => {
      for (let index = 0; index < 4; index += 1) await context.commit([{ op: 'insert', id: String(index), value: 'v' }]);
      const stream = await source.open(signal);
      const all = await read(stream, { transactions: 4 }, signal);
      const acknowledged = endOf(all[1]);
      stream.acknowledge(acknowledged);
      await untilSlotIs(source, acknowledged, signal);
      await stream[Symbol.asyncDispose]();
      expect((await source.inspect(signal)).slot?.position).toBe(acknowledged);
      const rest = await readAll(source, 2, signal);
      expect(rest[0]?.[1]?.tag).toBe('schema');
      expect(withoutSchemas(rest)).toEqual(withoutSchemas(all.slice(2)));
    });
  });

  test(`${name}: reading alone acknowledges nothing, and an acknowledgement never falls`, async () => {
    await withSource(async (source, context, signal) => {
      const begin = (await source.inspect(signal)).slot?.position as Position;
      for (let index = 0; index < 3; index += 1) await context.commit([{ op: 'insert', id: String(index), value: 'v' }]);
      const all = await readAll(source, 3, signal);
      expect((await source.inspect(signal)).slot?.position).toBe(begin);
      await using stream = await source.open(signal);
      await read(stream, { transactions: 3 }, signal);
      stream.acknowledge(endOf(all[1]));
      stream.acknowledge(endOf(all[0]));
      await untilSlotIs(source, endOf(all[1]), signal);
    });
  });

  test(`${name}: a second open takes the slot from the first`, async () => {
    await withSource(async (source, context, signal) => {
      await context.commit([{ op: 'insert', id: '1', value: 'a' }]);
      const old = await source.open(signal);
      await read(old, { transactions: 1 }, signal);
      await using other = context.source();
      await using stream = await other.open(signal);
      expect(await read(stream, { transactions: 1 }, signal)).toHaveLength(1);
      await expect(drain(old, signal)).rejects.toThrow();
      await old[Symbol.asyncDispose]();
    });
  });

  test(`${name}: nothing comes after a stream was closed`, async () => {
    await withSource(async (source, context, signal) => {
      const stream = await source.open(signal);
      await context.commit([{ op: 'insert', id: '1', value: 'a' }]);
      await read(stream, { transactions: 1 }, signal);
      await stream[Symbol.asyncDispose]();
      await context.commit([{ op: 'insert', id: '2', value: 'b' }]);
      const late: SourceMessage[] = [];
      await drain(stream, signal, late).catch(() => undefined);
      expect(late.filter(({ tag }) => tag === 'change')).toEqual([]);
    });
  });

  test(`${name}: a heartbeat comes back in the stream, as a message of ours`, async () => {
    await withSource(async (source, _context, signal) => {
      await using stream = await source.open(signal);
      const { at, counter } = await source.heartbeat(signal);
      const later = await source.heartbeat(signal);
      expect(later.at).toBeGreaterThanOrEqual(at);
      expect(later.counter).toBe((counter ?? 0) + 1);
      expect((await source.inspect(signal)).lineage?.heartbeats).toBe(later.counter);
      const [first] = await read(stream, { transactions: 1 }, signal);
      expect(first?.filter(({ tag }) => tag === 'message')).toMatchObject([{ prefix: MESSAGE_PREFIX, transactional: true }]);
      const begin = first?.[0];
      expect(begin?.tag === 'begin' ? Math.abs(begin.committedAt - at) : null).toBeLessThan(60_000_000);
    });
  });

  test(`${name}: marks stand there until they are dropped, and come back in no stream of ours`, async () => {
    await withSource(async (source, context, signal) => {
      expect((await source.inspect(signal)).lineage).toEqual({ marks: [], heartbeats: 0 });
      const one = present(await source.addMark(signal), 'a mark');
      const two = present(await source.addMark(signal), 'a mark');
      const facts = await source.inspect(signal);
      expect(facts.lineage?.marks.toSorted()).toEqual([one.id, two.id].sort());
      expect(source.comparePositions(one.position, two.position)).toBeLessThan(0);
      expect(source.comparePositions(two.position, facts.head)).toBeLessThanOrEqual(0);
      await source.dropMarks([one.id], signal);
      await using other = context.source();
      expect((await other.inspect(signal)).lineage?.marks).toEqual([two.id]);
      await context.commit([{ op: 'insert', id: '1', value: 'a' }]);
      expect((await readAll(source, 1, signal)).flatMap(changesOf)).toHaveLength(1);
    });
  });

  test(`${name}: a fingerprint of what did not change is the same`, async () => {
    await withSource(async (source, context, signal) => {
      const before = (await source.inspect(signal)).tables[0]?.fingerprint;
      await context.commit([{ op: 'insert', id: '1', value: 'a' }]);
      await source.heartbeat(signal);
      const after = (await source.inspect(signal)).tables[0]?.fingerprint;
      expect(after?.hash).toBe(before?.hash);
      expect(before !== undefined && after !== undefined && source.compareFingerprints(before, after)).toEqual({ tag: 'same' });
    });
  });

  test(`${name}: deprovision leaves no slot, and says what it dropped`, async () => {
    await withSource(async (source, _context, signal) => {
      const dropped = await source.deprovision(signal);
      expect(dropped.length).toBeGreaterThan(0);
      expect((await source.inspect(signal)).slot).toBe(null);
      await expect(source.open(signal)).rejects.toMatchObject({ code: 'source_slot_lost' });
    });
  });
}

async function readAll(source: Source, transactions: number, signal: AbortSignal): Promise<readonly Transaction[]> {
  await using stream = await source.open(signal);
  return await read(stream, { transactions }, signal);
}

/** So many whole transactions, without keepalives. Older servers also show transactions that changed nothing of ours. */
async function read(stream: SourceStream, until: { readonly transactions: number }, signal: AbortSignal): Promise<readonly Transaction[]> {
  const transactions: Transaction[] = [];
  let open: SourceMessage[] = [];
  for await (const batch of stream.messages(signal)) {
    for (const message of batch) {
      if (message.tag === 'keepalive') {
        expect(open).toEqual([]);
        continue;
      }
      if (message.tag === 'begin') expect(open).toEqual([]);
      open.push(message);
      if (message.tag !== 'commit') continue;
      if (open.length > 2) transactions.push(open);
      open = [];
    }
    if (transactions.length >= until.transactions) break;
  }
  return transactions.slice(0, until.transactions);
}

/** A table is described anew after each connect, which is no part of what happened. */
function withoutSchemas(transactions: readonly Transaction[]): readonly Transaction[] {
  return transactions.map((messages) => messages.filter(({ tag }) => tag !== 'schema'));
}

async function drain(stream: SourceStream, signal: AbortSignal, into: SourceMessage[] = []): Promise<void> {
  for await (const batch of stream.messages(signal)) into.push(...batch);
}

function changesOf(transaction: Transaction): SourceChange[] {
  return transaction.filter((message) => message.tag === 'change');
}

function endOf(transaction: Transaction | undefined): Position {
  const last = transaction?.at(-1);
  if (last?.tag !== 'commit') throw new Error('a transaction ends with its commit');
  return last.position;
}

function assertRising(transactions: readonly Transaction[]): void {
  const places = transactions.flatMap((transaction) => {
    const [begin] = transaction;
    const commit = begin?.tag === 'begin' ? begin.commit : 0n;
    return transaction.flatMap((message) =>
      message.tag === 'change' || message.tag === 'truncate' ? [{ commit, change: message.change }] : [],
    );
  });
  for (const [index, place] of places.entries()) {
    const last = places[index - 1];
    if (last === undefined) continue;
    expect(place.commit > last.commit || (place.commit === last.commit && place.change > last.change)).toBe(true);
  }
}

function assertPositionsRise(source: Source, transactions: readonly Transaction[]): void {
  const ends = transactions.map(endOf);
  for (const [index, end] of ends.entries()) {
    const last = ends[index - 1];
    if (last !== undefined) expect(source.comparePositions(last, end)).toBeLessThan(0);
  }
}

/** The server answers no acknowledgement, so its effect is asked for until it shows; a wrong one shows too. */
async function untilSlotIs(source: Source, position: Position, signal: AbortSignal): Promise<void> {
  while (true) {
    signal.throwIfAborted();
    const slot = (await source.inspect(signal)).slot;
    if (slot !== null && source.comparePositions(slot.position, position) >= 0) {
      expect(slot.position).toBe(position);
      return;
    }
  }
}
