import { assert } from '#core/assert.ts';
import type { LetterRelease, LetterToPark, LogProgress } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import type { OpenFile, SqliteHandle } from '../lib/sqlite/handle.ts';
import { blockChecksum } from './block.ts';
import { blockId } from './layout.ts';
import { forgetReleased, type LetterHolder, parkLetters, releaseLetters, removeLetters, takeLetters } from './letters.ts';
import { endsOf, nextOffset } from './pages.ts';
import { type ConsumerPartition, lowerProgress, removeProgress, storeProgress } from './progress.ts';
import { type Kept, pagesInUse, shrinkStep, trimStep, usedBytes } from './trim.ts';

/** A block of an append: `count` records of a partition, as bytes `start` to `end` of the append's data. */
export type AppendedBlock = { readonly partition: number; readonly count: number; readonly start: number; readonly end: number };

export type Append = {
  readonly blocks: readonly AppendedBlock[];
  readonly data: Uint8Array;
  /** What it takes in the file, about. */
  readonly bytes: number;
  readonly bytesMax: number;
};

/** Everything that is written to the log's file, as data: the thread that writes need not be the one that asks for it. */
export type Operations = {
  /** The offset of each partition's last record; null where there is no room. */
  append: { args: Append; result: ReadonlyMap<number, Offset> | null };
  /** Returns what is stored then, and frees what nobody needs any more. */
  commit: { args: { readonly of: ConsumerPartition; readonly progress: LogProgress; readonly kept: Kept }; result: LogProgress };
  rewind: { args: { readonly of: ConsumerPartition; readonly progress: LogProgress }; result: undefined };
  /** True if there is more to free. */
  trim: { args: { readonly partition: number; readonly kept: Kept }; result: boolean };
  /** Returns the holder's token. */
  take: { args: { readonly of: ConsumerPartition }; result: number };
  park: { args: { readonly by: LetterHolder; readonly letters: readonly LetterToPark[] }; result: undefined };
  release: { args: { readonly by: LetterHolder; readonly releases: readonly LetterRelease[] }; result: undefined };
  forget: { args: { readonly by: LetterHolder; readonly replays: number }; result: undefined };
  /** How many rows were removed. */
  remove: { args: { readonly consumer: string }; result: { readonly progress: number; readonly letters: number } };
};

export type OperationName = keyof Operations;

type Operation<Name extends OperationName> = {
  /** Synced before it is confirmed. */
  readonly durable: boolean;
  /** Inside a write transaction. */
  readonly run: (file: OpenFile, args: Operations[Name]['args']) => Operations[Name]['result'];
  /** Outside of it. */
  readonly afterwards?: (file: OpenFile) => void;
};

const operations: { readonly [Name in OperationName]: Operation<Name> } = {
  append: { durable: true, run: append },
  // A sink keeps its progress itself, in the transaction that moved it: the log's copy says only what may be freed.
  commit: {
    durable: false,
    run(file, { of, progress, kept }) {
      const stored = storeProgress(file, of, progress);
      trimStep(file, of.partition, kept);
      return stored;
    },
    afterwards: shrinkStep,
  },
  // Synced: if a crash of the machine took it, others' commits would free what it holds.
  rewind: { durable: true, run: (file, { of, progress }) => lowerProgress(file, of, progress) },
  trim: { durable: false, run: (file, { partition, kept }) => trimStep(file, partition, kept) },
  // A crash of the machine that took it took every earlier holder too, and what stands in the log behind it is synced with it.
  take: { durable: false, run: (file, { of }) => takeLetters(file, of) },
  park: { durable: true, run: (file, { by, letters }) => parkLetters(file, by, letters) },
  release: { durable: true, run: (file, { by, releases }) => releaseLetters(file, by, releases) },
  forget: {
    durable: false,
    run: (file, { by, replays }) => forgetReleased(file, by, { start: endsOf(file, by.partition).start, replays }),
  },
  remove: {
    durable: true,
    run: (file, { consumer }) => ({ progress: removeProgress(file, consumer), letters: removeLetters(file, consumer) }),
  },
};

/** Throws what SQLite throws; while another process or thread holds the lock it can be called again. */
export function perform<Name extends OperationName>(
  handle: SqliteHandle,
  name: Name,
  args: Operations[Name]['args'],
): Operations[Name]['result'] {
  const { durable, run, afterwards } = operations[name];
  const result = handle.write({ create: false, durable }, (file) => run(file, args));
  afterwards?.(handle.opened(false));
  return result;
}

function append(file: OpenFile, { blocks, data, bytes, bytesMax }: Append): ReadonlyMap<number, Offset> | null {
  // Counting the letters takes longer, and changes nothing while there is room.
  if (pagesInUse(file) + bytes > bytesMax && usedBytes(file) + bytes > bytesMax) return null;
  const statement = file.prepare('INSERT INTO block (id, count, bytes, crc, data) VALUES (?, ?, ?, ?, ?)');
  const ends = new Map<number, number>();
  for (const { partition, count, start, end } of blocks) {
    assert(end <= data.length, 'a block lies in the data of its append');
    const base = ends.get(partition) ?? nextOffset(file, partition);
    const block = { partition, base, count, data: data.subarray(start, end) };
    statement.run(blockId(partition, base), count, end - start, blockChecksum(block), block.data);
    ends.set(partition, base + count);
  }
  return new Map([...ends].map(([partition, end]) => [partition, (end - 1) as Offset]));
}
