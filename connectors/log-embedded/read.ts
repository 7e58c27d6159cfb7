import { CausewayError, codeOf } from '#core/errors.ts';
import type { LogBatch, LogProgress, LogReader, PartitionAssignment } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import type { Runtime } from '#core/runtime.ts';
import type { LogFile } from './log-file.ts';
import { endsOf, readPage } from './pages.ts';
import { type ConsumerPartition, storedProgress } from './progress.ts';
import type { SharedState } from './shared.ts';
import { type FileVersion, type FileWatch, versionOf } from './watch.ts';

export type ReaderParts = {
  readonly file: LogFile;
  readonly shared: SharedState;
  readonly watch: FileWatch;
  readonly partitions: number;
  /** Of one partition. */
  readonly keepBytes: number;
  readonly runtime: Runtime;
};

/** Long enough to cost nothing: the signal ends the wait. */
const FOREVER_MS = 3_600_000;

/** Every partition is given at once and stays until the reader is closed. */
export function embeddedReader(parts: ReaderParts, consumer: string): LogReader {
  const closing = new AbortController();
  return {
    async *assignments(signal) {
      for (let partition = 0; partition < parts.partitions; partition += 1) {
        signal.throwIfAborted();
        yield assignment(parts, { consumer, partition }, closing.signal);
      }
      const ended = AbortSignal.any([signal, closing.signal]);
      while (true) await parts.runtime.sleep(FOREVER_MS, ended);
    },
    [Symbol.asyncDispose]() {
      closing.abort(new CausewayError('log_unavailable', 'the reader of the log was closed'));
      return Promise.resolve();
    },
  };
}

function assignment(parts: ReaderParts, of: ConsumerPartition, revoked: AbortSignal): PartitionAssignment {
  return {
    partition: of.partition,
    revoked,
    committed: (signal) => parts.file.read((file) => storedProgress(file, of), signal),
    batches: (from, signal) => follow(parts, { partition: of.partition, from }, AbortSignal.any([signal, revoked])),
    commit: (progress, signal) => commit(parts, { of, progress }, signal),
    rewind: (progress, signal) => parts.file.write('rewind', { of, progress }, signal),
  };
}

async function* follow(
  parts: ReaderParts,
  place: { readonly partition: number; readonly from: Offset },
  signal: AbortSignal,
): AsyncIterable<LogBatch> {
  const { partition } = place;
  let from: number = place.from;
  while (true) {
    const own = parts.shared.version(partition);
    const { records, version } = await parts.file.read(
      (file) => ({ version: versionOf(file), records: readPage(file, { partition, from, path: parts.file.path }) }),
      signal,
    );
    if (records.length === 0) {
      await changed(parts, { partition, own, version }, signal);
      continue;
    }
    yield { partition, records };
    from += records.length;
    signal.throwIfAborted();
  }
}

/** Resolves once there may be more than was seen: this process has appended, or somebody else has written to the file. */
async function changed(
  parts: Pick<ReaderParts, 'shared' | 'watch'>,
  seen: { readonly partition: number; readonly own: number; readonly version: FileVersion },
  signal: AbortSignal,
): Promise<void> {
  const { partition, own, version } = seen;
  signal.throwIfAborted();
  if (parts.shared.version(partition) !== own) return;
  const woken = Promise.withResolvers<undefined>();
  const wake = (): void => woken.resolve(undefined);
  const ends = [parts.shared.listen(partition, wake), parts.watch.watch(version, wake)];
  signal.addEventListener('abort', wake, { once: true });
  try {
    await woken.promise;
  } finally {
    for (const end of ends) end();
    signal.removeEventListener('abort', wake);
  }
  signal.throwIfAborted();
}

/** From `from` to the end as it stands now. */
export async function* readToEnd(
  parts: Pick<ReaderParts, 'file'>,
  place: { readonly partition: number; readonly from: Offset },
  signal: AbortSignal,
): AsyncIterable<LogBatch> {
  const { partition } = place;
  const { end } = await parts.file.read((file) => endsOf(file, partition), signal);
  let from: number = place.from;
  do {
    const page = await parts.file.read((file) => readPage(file, { partition, from, path: parts.file.path }), signal);
    const records = page.filter((record) => record.offset < end);
    if (records.length > 0) yield { partition, records };
    from += page.length;
    signal.throwIfAborted();
  } while (from < end);
}

/**
 * Not synced on its own: a sink keeps its progress itself, in the transaction that moved it, and starts from that. The log's
 * copy says what may be freed; where a crash of the machine takes its tail, some records are kept a little longer. For the
 * same reason a full disk does not stop the sink, which has to go on for room to be made.
 */
async function commit(
  parts: ReaderParts,
  what: { readonly of: ConsumerPartition; readonly progress: LogProgress },
  signal: AbortSignal,
): Promise<LogProgress> {
  const { of, progress } = what;
  const kept = { retained: parts.shared.retained, keepBytes: parts.keepBytes };
  try {
    const stored = await parts.file.write('commit', { of, progress, kept }, signal);
    parts.shared.changed(['room']);
    return stored;
  } catch (error) {
    if (codeOf(error) !== 'log_full') throw error;
    return (await parts.file.read((file) => storedProgress(file, of), signal)) ?? progress;
  }
}
