import { assert } from '#core/assert.ts';
import { backoffMs, CausewayError, codeOf } from '#core/errors.ts';
import type { EncodedRecord, LogWriter } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import type { Logger, Runtime } from '#core/runtime.ts';
import { encodeRecords, recordBytes } from './block.ts';
import type { LogFile } from './log-file.ts';
import type { Append, AppendedBlock } from './operations.ts';
import type { SharedState } from './shared.ts';

/** A block is read whole and freed whole, so that it is kept small; a single larger record has a block of its own. */
const BLOCK_BYTES_MAX = 1024 * 1024;
/** For pages that are not full and for the tree above the blocks. */
const OVERHEAD = 1.1;
/** An append that is larger goes in part by part: in a log that is smaller than it, it would never find room as a whole. */
const PART_OF_LOG = 1 / 8;
/** Nor is a part larger than this, unless one record is: its bytes are in memory twice. */
const PART_BYTES_MAX = 2 * 1024 * 1024;
const MEMORY_BYTES_MIN = 256 * 1024;
const STALL_FIRST_MS = 50;
const STALL_MAX_MS = 2_000;

/** A run of records that becomes one block. */
type Run = { readonly partition: number; readonly records: EncodedRecord[]; bytes: number };

export type WriterParts = {
  readonly file: LogFile;
  readonly shared: SharedState;
  readonly bytesMax: number;
  readonly recordBytesMax: number;
  readonly partitions: number;
  readonly runtime: Runtime;
  readonly logger: Logger;
};

/** Appends one call after the other, each in one transaction for all partitions where the log has room for that, synced before it resolves. */
export class EmbeddedLogWriter implements LogWriter {
  readonly #parts: WriterParts;
  #last: Promise<unknown> = Promise.resolve();
  /** Once an append has failed, later ones would leave a gap behind it. */
  #failed = false;
  #closed = false;
  #stalled = false;
  /** Of the part on its way: shared with the thread that writes it, and used for one part after the other. */
  #memory = new SharedArrayBuffer(0);

  constructor(parts: WriterParts) {
    this.#parts = parts;
    parts.shared.writers += 1;
  }

  get stalled(): boolean {
    return this.#stalled;
  }

  append(records: readonly EncodedRecord[], signal: AbortSignal): Promise<ReadonlyMap<number, Offset>> {
    const result = this.#last.then(() => this.#append(records, signal));
    this.#last = result.catch(() => {
      this.#failed = true;
    });
    return result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    this.#failed = true;
    if (!this.#closed) this.#parts.shared.writers -= 1;
    this.#closed = true;
  }

  async #append(records: readonly EncodedRecord[], signal: AbortSignal): Promise<ReadonlyMap<number, Offset>> {
    if (this.#failed) throw new CausewayError('log_unavailable', 'the writer of the log was closed, or an earlier append failed');
    if (records.length === 0) return new Map();
    const offsets = new Map<number, Offset>();
    const { bytesMax, shared } = this.#parts;
    for (const runs of parted(runsOf(records, this.#parts), Math.min(bytesMax * PART_OF_LOG, PART_BYTES_MAX))) {
      const bytes = bytesOf(runs) * OVERHEAD;
      if (bytes > bytesMax) throw new CausewayError('log_full', 'a single record is larger than log.bytesMax');
      const part = { ...this.#encoded(runs), bytes, bytesMax };
      const ends = (await this.#tryAppend(part, signal)) ?? (await this.#makeRoom(part, signal)) ?? (await this.#waitForRoom(part, signal));
      for (const [partition, offset] of ends) offsets.set(partition, offset);
      shared.changed(ends.keys());
    }
    return offsets;
  }

  #encoded(runs: readonly Run[]): Pick<Append, 'blocks' | 'data'> {
    const data = this.#data(bytesOf(runs));
    const blocks: AppendedBlock[] = [];
    let start = 0;
    for (const { partition, records } of runs) {
      const end = encodeRecords(data, start, records);
      blocks.push({ partition, count: records.length, start, end });
      start = end;
    }
    return { blocks, data };
  }

  #data(bytes: number): Buffer {
    if (bytes > PART_BYTES_MAX) return Buffer.from(new SharedArrayBuffer(bytes));
    if (bytes > this.#memory.byteLength) {
      this.#memory = new SharedArrayBuffer(Math.max(MEMORY_BYTES_MIN, 2 ** Math.ceil(Math.log2(bytes))));
    }
    return Buffer.from(this.#memory, 0, bytes);
  }

  /** Gives up what is kept behind the readers, the oldest first. Null where that is not enough. */
  async #makeRoom(part: Append, signal: AbortSignal): Promise<ReadonlyMap<number, Offset> | null> {
    for (let more = true; more;) {
      more = await this.#free(signal);
      const offsets = await this.#tryAppend(part, signal);
      if (offsets !== null) return offsets;
    }
    return null;
  }

  async #waitForRoom(part: Append, signal: AbortSignal): Promise<ReadonlyMap<number, Offset>> {
    const { runtime, shared, logger, file, bytesMax } = this.#parts;
    const fields = { path: file.path, bytesMax };
    logger.log(
      'warn',
      'the log or its disk is full: capture waits until a sink catches up or the disk has room, see `causeway status`',
      fields,
    );
    this.#stalled = true;
    try {
      for (let attempt = 0; ; attempt += 1) {
        const seen = shared.version('room');
        const more = await this.#free(signal);
        const offsets = await this.#tryAppend(part, signal);
        if (offsets !== null) {
          logger.log('info', 'the log has room again', fields);
          return offsets;
        }
        const ms = backoffMs({ attempt, firstMs: STALL_FIRST_MS, maxMs: STALL_MAX_MS, random: runtime.random() });
        if (!more) await shared.wait({ concern: 'room', seen, ms, runtime }, signal);
      }
    } finally {
      this.#stalled = false;
    }
  }

  /** Null where there is no room. */
  async #tryAppend(part: Append, signal: AbortSignal): Promise<ReadonlyMap<number, Offset> | null> {
    try {
      return await this.#parts.file.write('append', part, signal);
    } catch (error) {
      // The transaction was rolled back whole.
      if (codeOf(error) === 'log_full') return null;
      throw error;
    }
  }

  /** Frees a part of what no consumer needs any more. Returns true if there is more of it. */
  async #free(signal: AbortSignal): Promise<boolean> {
    let more = false;
    for (let partition = 0; partition < this.#parts.partitions; partition += 1) {
      if (await trimmed({ ...this.#parts, keepBytes: 0 }, partition, signal)) more = true;
    }
    return more;
  }
}

/** One trim step of its own; a full disk keeps it from happening, which is no reason to fail. */
export async function trimmed(
  parts: Pick<WriterParts, 'file' | 'shared'> & { readonly keepBytes: number },
  partition: number,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    const kept = { retained: parts.shared.retained, keepBytes: parts.keepBytes };
    return await parts.file.write('trim', { partition, kept }, signal);
  } catch (error) {
    if (codeOf(error) === 'log_full') return false;
    throw error;
  }
}

function runsOf(
  records: readonly EncodedRecord[],
  limits: { readonly recordBytesMax: number; readonly bytesMax: number; readonly partitions: number },
): readonly Run[] {
  const runs: Run[] = [];
  const blockBytesMax = Math.min(BLOCK_BYTES_MAX, limits.bytesMax * PART_OF_LOG);
  const last = new Map<number, Run>();
  for (const record of records) {
    const bytes = recordBytes(record);
    assert(bytes <= limits.recordBytesMax + 8, 'a record is not larger than recordBytesMax');
    assert(record.partition >= 0 && record.partition < limits.partitions, 'a record belongs to a partition of the log');
    let run = last.get(record.partition);
    if (run === undefined || run.bytes + bytes > blockBytesMax) {
      run = { partition: record.partition, records: [], bytes: 0 };
      last.set(record.partition, run);
      runs.push(run);
    }
    run.records.push(record);
    run.bytes += bytes;
  }
  return runs;
}

/** Runs in their order, in as few parts as stay below `bytesMax`; a run that alone is larger is a part of its own. */
function parted(runs: readonly Run[], bytesMax: number): readonly (readonly Run[])[] {
  const parts: Run[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const run of runs) {
    bytes += run.bytes * OVERHEAD;
    if (bytes > bytesMax) {
      parts.push([]);
      bytes = run.bytes * OVERHEAD;
    }
    parts.at(-1)?.push(run);
  }
  return parts;
}

function bytesOf(runs: readonly Run[]): number {
  return runs.reduce((sum, run) => sum + run.bytes, 0);
}
