import type { SourceBegin, SourceMessage } from '#core/event.ts';
import type { RowRange, RowReader, RowSnapshot, RowsRead } from '#core/row-reader.ts';
import type { Runtime } from '#core/runtime.ts';
import type { TableId } from '#core/schema.ts';
import { MESSAGE_PREFIX } from '#core/source.ts';
import type { ShownTransactions } from './shown.ts';
import { ChunkWindow, type Settled, type Spoiled } from './window.ts';

/** Rows as they were at the commit `low`; they stand in the log behind every change up to the commit `high` and before any later one. */
export type Chunk = Settled & {
  readonly purpose: ChunkPurpose;
  readonly low: bigint;
  /** The transaction of the high watermark. */
  readonly high: SourceBegin;
  /** All that was read, hot keys too: the range is known up to its last key. */
  readonly read: RowsRead;
};

/** A chunk whose place in the log is here. */
export type Due = { readonly chunk: Chunk; readonly placed: () => void };

export type ChunkOutcome =
  | { readonly tag: 'placed'; readonly chunk: Chunk }
  /** Nothing came of it, and it may be asked for again: smaller, where its window had too many changes. */
  | { readonly tag: 'discarded'; readonly reason: DiscardReason };

export type DiscardReason = Spoiled | 'connection';

export type ChunkWanted = {
  readonly table: TableId;
  readonly range: RowRange;
  readonly rowsMax: number;
  readonly bytesMax: number;
  /** Changes in its window that are remembered. */
  readonly hotMax: number;
  /** The last resort: nothing more of the stream is taken while the rows are read. A read that has to wait holds nothing for long. */
  readonly holdsStream: boolean;
  readonly purpose: ChunkPurpose;
};

/** `sink`: the only one that the rows are for; null for all. */
export type ChunkPurpose =
  | { readonly tag: 'load'; readonly sink: string | null }
  /** Rows of single keys: published as repairs, those too that the source does not hold, or only compared. */
  | { readonly tag: 'rows'; readonly sink: string | null; readonly publishes: boolean };

export type Observed = {
  /** The index behind the last message that was taken note of. */
  readonly next: number;
  readonly due: readonly Due[];
  /** Resolves when the stream may go on. */
  readonly held: Promise<unknown> | null;
};

type Mark = { readonly seen: (transaction: SourceBegin) => void; readonly lost: () => void };

/** Between two looks whether reads show by now what the stream has shown. */
const LOOK_AGAIN_MS = 20;

/** The stream is not held for longer where nothing is read yet: for a standby that stalls, or for the table's lock. */
const HOLD_UNREAD_MS = 500;

/**
 * The watermark barrier: reads pieces of tables while they change, at a commit that can be named, without a lock and without a long
 * transaction. For each piece a mark is written into the source's log and awaited in the stream; then rows are read under a snapshot that
 * shows all that the stream had shown up to the mark; then a second mark is awaited, and what changed between the two is left to the log.
 * Watermarks alone are not enough, since a commit can show in the stream before it shows in reads.
 *
 * One stream feeds it, through `observe`. Several chunks may be under way at once, each with a reader of its own.
 */
export class Barrier {
  readonly shown: ShownTransactions;
  readonly #runtime: Runtime;
  readonly #name: string;
  readonly #marks = new Map<string, Mark>();
  readonly #windows = new Set<ChunkWindow>();
  #due: Due[] = [];
  #held: Promise<unknown>[] = [];
  #number = 0;
  /** Of the newest transaction that the stream has shown. */
  #newest = 0n;
  #transaction: { readonly begin: SourceBegin; readonly marks: string[] } | null = null;

  /** `name`: random, so that what another one wrote into the source's log is not taken for a mark of this. */
  constructor(of: { readonly runtime: Runtime; readonly name: string; readonly shown: ShownTransactions }) {
    this.#runtime = of.runtime;
    this.#name = of.name;
    this.shown = of.shown;
  }

  /**
   * Takes note of messages from `from` on, up to the end of a transaction at which something is to be done, or to the last message. Whoever
   * calls it publishes those messages, then places what is due, then waits for `held`, and only then goes on at `next`.
   */
  observe(messages: readonly SourceMessage[], from: number): Observed {
    for (let at = from; at < messages.length; at += 1) {
      const message = messages[at];
      switch (message?.tag) {
        case 'begin':
          this.#transaction = { begin: message, marks: [] };
          break;
        case 'commit':
          this.#committed();
          if (this.#due.length > 0 || this.#held.length > 0) return this.#stopAt(at + 1);
          break;
        case 'change':
          for (const window of this.#windows) {
            if (window.table === message.schema.table) window.changed(message, this.#transaction?.begin.transactionId ?? '');
          }
          break;
        case 'truncate':
          for (const window of this.#windows) if (message.tables.some(({ table }) => table === window.table)) window.truncated();
          break;
        case 'message':
          if (message.prefix === MESSAGE_PREFIX && this.#marks.has(message.content)) this.#transaction?.marks.push(message.content);
          break;
        default:
      }
    }
    return { next: messages.length, due: [], held: null };
  }

  /** The stream broke off: what is under way comes to nothing. What it has shown stays shown. */
  disconnected(): void {
    this.#transaction = null;
    this.#due = [];
    this.#held = [];
    this.#windows.clear();
    const marks = [...this.#marks.values()];
    this.#marks.clear();
    for (const { lost } of marks) lost();
  }

  /** Reads one chunk. Resolves once it is placed, or will not be. Errors: those of the reader. */
  async chunk(wanted: ChunkWanted, rows: RowReader, signal: AbortSignal): Promise<ChunkOutcome> {
    const asked = wanted.range.tag === 'keys' ? new Set(wanted.range.keys) : null;
    const window = new ChunkWindow(wanted.table, wanted.hotMax, asked);
    const hold = new Hold(this.#runtime);
    const outcome = Promise.withResolvers<ChunkOutcome>();
    const open = (): void => {
      this.#windows.add(window);
      if (wanted.holdsStream) this.#held.push(hold.begin(signal));
    };
    try {
      if (wanted.holdsStream) await this.#allShown(rows, signal);
      const low = await this.#mark(rows, open, signal);
      if (low === null) return discarded('connection');
      const read = await this.#read(wanted, { rows, window, hold, low: low.commit }, signal);
      hold.end();
      if (read === null) return discarded(window.spoiled ?? 'connection');
      const close = (high: SourceBegin): void => {
        // The stream may have broken off before this mark was written: then nobody watched what it showed meanwhile.
        const isWatched = this.#windows.delete(window);
        if (!isWatched || window.spoiled !== null) {
          outcome.resolve(discarded(window.spoiled ?? 'connection'));
          return;
        }
        const chunk: Chunk = { ...window.settle(), purpose: wanted.purpose, low: low.commit, high, read };
        this.#due.push({ chunk, placed: () => outcome.resolve({ tag: 'placed', chunk }) });
      };
      const high = await this.#mark(rows, close, signal);
      return high === null ? discarded('connection') : await orAborted(outcome.promise, signal);
    } finally {
      hold.end();
      this.#windows.delete(window);
    }
  }

  /** Resolves once reads show what the stream has shown up to now. It flows meanwhile. */
  async #allShown(rows: RowReader, signal: AbortSignal): Promise<void> {
    const upTo = this.#newest;
    while (!this.shown.allowsAt(upTo, await rows.look(signal))) await this.#runtime.sleep(LOOK_AGAIN_MS, signal);
  }

  /** Null where the window is worth nothing any more. */
  async #read(
    wanted: ChunkWanted,
    of: { readonly rows: RowReader; readonly window: ChunkWindow; readonly hold: Hold; readonly low: bigint },
    signal: AbortSignal,
  ): Promise<RowsRead | null> {
    const { window, hold, low } = of;
    const accepts = (snapshot: RowSnapshot): boolean => {
      const isRight = this.shown.allowsAt(low, snapshot);
      if (isRight) hold.reads();
      return isRight;
    };
    const { table, range, rowsMax, bytesMax } = wanted;
    while (true) {
      const read = await of.rows.read({ table, range, rowsMax, bytesMax, accepts }, signal);
      if (!this.#isOpen(window)) return null;
      if (read === null) {
        await this.#runtime.sleep(LOOK_AGAIN_MS, signal);
        continue;
      }
      window.rowsRead(read);
      return this.#isOpen(window) ? read : null;
    }
  }

  #isOpen(window: ChunkWindow): boolean {
    return this.#windows.has(window) && window.spoiled === null;
  }

  /** Writes a mark and waits for it in the stream. Returns its transaction, null where the stream breaks off before. */
  async #mark(rows: RowReader, seen: (transaction: SourceBegin) => void, signal: AbortSignal): Promise<SourceBegin | null> {
    this.#number += 1;
    const content = JSON.stringify({ kind: 'chunk', by: this.#name, number: this.#number });
    const sight = Promise.withResolvers<SourceBegin | null>();
    this.#marks.set(content, {
      seen: (transaction) => {
        seen(transaction);
        sight.resolve(transaction);
      },
      lost: () => sight.resolve(null),
    });
    try {
      await rows.mark(content, signal);
      return await orAborted(sight.promise, signal);
    } finally {
      this.#marks.delete(content);
    }
  }

  #committed(): void {
    const transaction = this.#transaction;
    if (transaction === null) return;
    this.#transaction = null;
    this.#newest = transaction.begin.commit;
    this.shown.committed(transaction.begin.transactionId, transaction.begin.commit);
    for (const content of transaction.marks) {
      const mark = this.#marks.get(content);
      this.#marks.delete(content);
      mark?.seen(transaction.begin);
    }
  }

  #stopAt(next: number): Observed {
    const observed = { next, due: this.#due, held: this.#held.length === 0 ? null : Promise.all(this.#held) };
    this.#due = [];
    this.#held = [];
    return observed;
  }
}

/** What a chunk holds the stream by: until its rows are read, and until they begin to be read for a short time only. */
class Hold {
  readonly #runtime: Runtime;
  readonly #over = Promise.withResolvers<null>();
  readonly #timed = new AbortController();

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /** Resolves when the stream may go on. */
  begin(signal: AbortSignal): Promise<null> {
    this.#runtime.sleep(HOLD_UNREAD_MS, AbortSignal.any([signal, this.#timed.signal])).then(
      () => this.end(),
      // Rows are read, or it is over.
      () => undefined,
    );
    return this.#over.promise;
  }

  /** The rows begin to be read. */
  reads(): void {
    this.#timed.abort(new Error('rows are read'));
  }

  end(): void {
    this.reads();
    this.#over.resolve(null);
  }
}

function discarded(reason: DiscardReason): ChunkOutcome {
  return { tag: 'discarded', reason };
}

async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
