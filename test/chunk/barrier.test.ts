import { describe, expect, it } from 'vitest';
import { present } from '#core/assert.ts';
import type { SourceChange, SourceMessage } from '#core/event.ts';
import { rowKeyOf, type RowKey } from '#core/key.ts';
import { epochMicrosOf, positionOf } from '#core/position.ts';
import type { RowReader, RowSnapshot, RowsRead } from '#core/row-reader.ts';
import { tableSchema, type Column, type TableId } from '#core/schema.ts';
import { MESSAGE_PREFIX } from '#core/source.ts';
import { Barrier, type ChunkOutcome } from '../../src/chunk/barrier.ts';
import { ShownTransactions } from '../../src/chunk/shown.ts';
import { settle, VirtualClock } from '../support/test-runtime.ts';

const table = 'public.t' as TableId;
const column = (name: string): Column => ({ name, type: { tag: 'text' }, sourceType: 'text', nullable: true, constantDefault: null });
const schema = tableSchema({ table, columns: ['id', 'a'].map(column), key: [0] });
const keyOf = (id: string): RowKey => present(rowKeyOf(schema, [id, null]), 'key');
const all: RowSnapshot = { shows: () => true, showsAllBefore: () => true };
const none: RowSnapshot = { shows: () => false, showsAllBefore: () => true };

/** Marks are written and reads are made; nothing is shown by itself. */
class Reader implements RowReader {
  readonly marks: string[] = [];
  reads = 0;
  snapshot = all;
  /** How long rows are on their way, and how long the table's lock is waited for. */
  rowsSent: Promise<undefined> | undefined;
  locked: Promise<undefined> | undefined;

  async mark(content: string): Promise<void> {
    this.marks.push(content);
    await Promise.resolve();
  }

  async look(): Promise<RowSnapshot> {
    return await Promise.resolve(this.snapshot);
  }

  async read({ accepts }: Parameters<RowReader['read']>[0]): Promise<RowsRead | null> {
    await this.locked;
    this.reads += 1;
    const rows = ['1', '2'].map((id) => ({ key: keyOf(id), row: [id, 'read'], withheld: null }));
    const { snapshot } = this;
    if (!accepts(snapshot)) return null;
    await this.rowsSent;
    return { snapshot, readAt: epochMicrosOf(1), schema, rows, bytes: 1, isWhole: true };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.resolve();
  }
}

class Scene {
  readonly clock = new VirtualClock();
  readonly reader = new Reader();
  readonly barrier = new Barrier({ runtime: this.clock.runtime, name: 'mine', shown: new ShownTransactions([], 100) });
  #commit = 100n;

  transaction(...changes: readonly SourceMessage[]): readonly SourceMessage[] {
    this.#commit += 10n;
    const begin = {
      tag: 'begin',
      commit: this.#commit,
      transactionId: String(this.#commit),
      committedAt: epochMicrosOf(1),
      origin: null,
    } as const;
    return [begin, ...changes, { tag: 'commit', position: positionOf(String(this.#commit)) }];
  }

  /** The mark that was written last, as the stream shows it. */
  mark(content = present(this.reader.marks.at(-1), 'a mark')): readonly SourceMessage[] {
    return this.transaction({ tag: 'message', prefix: MESSAGE_PREFIX, content, transactional: true });
  }

  /** The stream shows the mark that was written last, and a change behind it. Tells whether it is held there. */
  held(): () => boolean {
    const { next, held } = this.barrier.observe([...this.mark(), ...this.transaction(update('3'))], 0);
    expect(next).toBe(3);
    let isHeld = true;
    held?.then(
      () => (isHeld = false),
      () => undefined,
    );
    return () => isHeld;
  }

  chunk({ holdsStream = false } = {}): { readonly outcome: () => ChunkOutcome | null } {
    const range = { tag: 'between', after: null, upTo: null } as const;
    let outcome: ChunkOutcome | null = null;
    this.barrier
      .chunk(
        { table, range, rowsMax: 10, bytesMax: 10, hotMax: 10, holdsStream, purpose: { tag: 'load', sink: null } },
        this.reader,
        new AbortController().signal,
      )
      .then(
        (ended) => (outcome = ended),
        () => undefined,
      );
    return { outcome: () => outcome };
  }
}

const update = (id: string): SourceChange => ({
  tag: 'change',
  schema,
  change: 1n,
  op: 'update',
  key: keyOf(id),
  row: [id, 'x'],
  oldKey: null,
});

describe('the watermark barrier', () => {
  it('gives the chunk its place right behind the transaction of its high mark, whatever else has come by then', async () => {
    const scene = new Scene();
    const { barrier, reader } = scene;
    const chunk = scene.chunk();
    await settle();
    barrier.observe(scene.mark(), 0);
    await settle();
    expect(reader.reads).toBe(1);
    // Before the high mark is shown nothing is known of what changed meanwhile.
    expect(barrier.observe(scene.transaction(update('1')), 0).due).toEqual([]);
    const messages = [...scene.transaction(update('2')), ...scene.mark(), ...scene.transaction(update('3'))];
    const { next, due } = barrier.observe(messages, 0);
    expect([next, due.length]).toEqual([6, 1]);
    expect(chunk.outcome()).toBeNull();
    expect(due[0]?.chunk).toMatchObject({ low: 110n, high: { commit: 140n }, cold: [], hotKeys: 2 });
    due[0]?.placed();
    await settle();
    expect(chunk.outcome()).toMatchObject({ tag: 'placed' });
    expect(barrier.observe(messages, next)).toEqual({ next: messages.length, due: [], held: null });
  });

  it('reads nothing until reads show what the stream has shown', async () => {
    const scene = new Scene();
    scene.reader.snapshot = none;
    scene.chunk();
    await settle();
    scene.barrier.observe([...scene.transaction(update('1')), ...scene.mark()], 0);
    await scene.clock.advance(1_000);
    expect(scene.reader.marks).toHaveLength(1);
    expect(scene.reader.reads).toBeGreaterThan(10);
    scene.reader.snapshot = all;
    await scene.clock.advance(100);
    expect(scene.reader.marks).toHaveLength(2);
  });

  it('takes no mark of another for its own', async () => {
    const scene = new Scene();
    scene.chunk();
    await settle();
    const [mark = ''] = scene.reader.marks;
    scene.barrier.observe(scene.mark(mark.replace('mine', 'other')), 0);
    await settle();
    expect(scene.reader.reads).toBe(0);
  });

  it('holds the stream until the rows are read, where it is asked to', async () => {
    const scene = new Scene();
    const sent = Promise.withResolvers<undefined>();
    scene.reader.rowsSent = sent.promise;
    scene.chunk({ holdsStream: true });
    await settle();
    const held = scene.held();
    await scene.clock.advance(60_000);
    expect([scene.reader.reads, held()]).toEqual([1, true]);
    sent.resolve(undefined);
    await settle();
    expect(held()).toBe(false);
  });

  it('does not begin to hold the stream while reads do not show what it has shown', async () => {
    const scene = new Scene();
    const { reader } = scene;
    reader.snapshot = none;
    scene.barrier.observe(scene.transaction(update('1')), 0);
    scene.chunk({ holdsStream: true });
    await scene.clock.advance(10_000);
    expect(reader.marks).toEqual([]);
    expect(scene.barrier.observe(scene.transaction(update('2')), 0).held).toBeNull();
    // What came since is not waited for.
    reader.snapshot = { shows: (id) => id === '110', showsAllBefore: () => true };
    await scene.clock.advance(100);
    expect(reader.marks).toHaveLength(1);
  });

  it.each(['a standby stalls', 'the table is locked'])(
    'lets the stream go on soon where %s before rows are read, and reads all the same',
    async (why) => {
      const scene = new Scene();
      const { reader } = scene;
      const unlocked = Promise.withResolvers<undefined>();
      if (why === 'a standby stalls') reader.snapshot = none;
      else reader.locked = unlocked.promise;
      const chunk = scene.chunk({ holdsStream: true });
      await settle();
      const held = scene.held();
      await scene.clock.advance(100);
      expect(held()).toBe(true);
      await scene.clock.advance(1_000);
      expect(held()).toBe(false);
      scene.barrier.observe(scene.transaction(update('1')), 0);
      reader.snapshot = all;
      unlocked.resolve(undefined);
      await scene.clock.advance(100);
      const { due } = scene.barrier.observe(scene.mark(), 0);
      due[0]?.placed();
      await settle();
      expect(chunk.outcome()).toMatchObject({ tag: 'placed', chunk: { hotKeys: 1 } });
    },
  );

  it('lets go of everything where the stream breaks off', async () => {
    const scene = new Scene();
    const waits = scene.chunk();
    await settle();
    scene.barrier.disconnected();
    await settle();
    expect(waits.outcome()).toEqual({ tag: 'discarded', reason: 'connection' });
    const reads = scene.chunk();
    await settle();
    scene.barrier.observe(scene.mark(), 0);
    scene.barrier.disconnected();
    await settle();
    expect(reads.outcome()).toEqual({ tag: 'discarded', reason: 'connection' });
    // Its high mark, had it written one, would be shown to nobody.
    expect(scene.barrier.observe(scene.mark(), 0).due).toEqual([]);
  });
});
