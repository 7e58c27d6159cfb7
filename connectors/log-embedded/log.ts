import { rmSync } from 'node:fs';
import { CausewayError, codeOf } from '#core/errors.ts';
import type { DeadLetters, Log, LogBatch, LogEnds, LogReader, LogUsage, LogWriter } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import type { Logger, Runtime } from '#core/runtime.ts';
import { keepBytesDefault } from './config.ts';
import { embeddedDeadLetters } from './dead-letter.ts';
import { LogFile } from './log-file.ts';
import { endsOf } from './pages.ts';
import { embeddedReader, readToEnd } from './read.ts';
import { join, type SharedState } from './shared.ts';
import { usedBytes } from './trim.ts';
import { FileWatch } from './watch.ts';
import { EmbeddedLogWriter, trimmed } from './write.ts';

export type EmbeddedLogInput = {
  readonly path: string;
  readonly pipeline: string;
  readonly partitions: number;
  readonly bytesMax: number;
  /** Of all partitions together; `keepBytesDefault` unless given. */
  readonly keepBytes?: number | undefined;
  readonly recordBytesMax: number;
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** While it is captured into, the file is written in a thread of its own. */
  readonly thread: boolean;
};

/** The log of one pipeline in one SQLite file. Any number of processes may read it; the capture holder appends. */
export class EmbeddedLog implements Log {
  readonly partitions: number;
  readonly recordBytesMax: number;
  /** Each reader of a consumer is given every partition: the fence of the sink tells which of them works. */
  readonly sharesPartitions = false;
  readonly #input: EmbeddedLogInput;
  readonly #file: LogFile;
  readonly #shared: SharedState;
  readonly #watch: FileWatch;
  /** Of one partition. */
  readonly #keepBytes: number;
  readonly #leave: () => void;
  readonly #writers = new Set<EmbeddedLogWriter>();

  constructor(input: EmbeddedLogInput) {
    this.#input = input;
    this.partitions = input.partitions;
    this.recordBytesMax = input.recordBytesMax;
    this.#keepBytes = (input.keepBytes ?? keepBytesDefault(input.bytesMax)) / input.partitions;
    this.#file = new LogFile(input);
    const { state, leave } = join(input.path);
    this.#shared = state;
    this.#watch = new FileWatch({ file: this.#file, writesHere: () => state.writers > 0, runtime: input.runtime });
    this.#leave = leave;
  }

  /** Only this makes the file: whoever merely looks must not make an empty log in place of one that was lost. */
  async provision(signal: AbortSignal): Promise<void> {
    await this.#file.open({ create: true }, signal);
  }

  async remove(consumer: string | null, signal: AbortSignal): Promise<readonly string[]> {
    if (!this.#file.exists()) return [];
    return consumer === null ? this.#removeFile(signal) : this.#removeConsumer(consumer, signal);
  }

  /** Progress and dead letters are rows, made as they come. */
  prepareConsumer(_consumer: string, _options: { readonly known: boolean }, signal: AbortSignal): Promise<void> {
    return signal.aborted ? Promise.reject(signal.reason as Error) : Promise.resolve();
  }

  async writer(signal: AbortSignal): Promise<LogWriter> {
    await this.#file.open({ create: false }, signal);
    const { bytesMax, runtime, logger } = this.#input;
    if (this.#input.thread) this.#file.writeInThread();
    const writer = new EmbeddedLogWriter({
      file: this.#file,
      shared: this.#shared,
      bytesMax,
      recordBytesMax: this.recordBytesMax,
      partitions: this.partitions,
      runtime,
      logger,
    });
    this.#writers.add(writer);
    return writer;
  }

  async reader(consumer: string, signal: AbortSignal): Promise<LogReader> {
    await this.#file.open({ create: false }, signal);
    const parts = { file: this.#file, shared: this.#shared, watch: this.#watch, partitions: this.partitions, keepBytes: this.#keepBytes };
    return embeddedReader({ ...parts, runtime: this.#input.runtime }, consumer);
  }

  read(partition: number, from: Offset, signal: AbortSignal): AsyncIterable<LogBatch> {
    return readToEnd({ file: this.#file }, { partition, from }, signal);
  }

  ends(signal: AbortSignal): Promise<readonly LogEnds[]> {
    return this.#file.read((file) => Array.from({ length: this.partitions }, (_none, partition) => endsOf(file, partition)), signal);
  }

  deadLetters(consumer: string): DeadLetters {
    return embeddedDeadLetters(this.#file, consumer);
  }

  async retain(consumers: readonly string[], signal: AbortSignal): Promise<void> {
    this.#shared.retained = [...consumers];
    if (this.#file.exists()) await this.#trimAll(signal);
  }

  async usage(signal: AbortSignal): Promise<LogUsage> {
    const bytes = await this.#file.read(usedBytes, signal);
    const stalled = [...this.#writers].some((writer) => writer.stalled);
    return { bytes, bytesMax: this.#input.bytesMax, stalled };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#leave();
    await this.#file.close();
    // Whoever still reads learns from the file that it is closed.
    this.#watch.close();
  }

  /** A damaged file is ours to remove; one that belongs to somebody else is not. */
  async #removeFile(signal: AbortSignal): Promise<readonly string[]> {
    try {
      await this.#file.open({ create: false }, signal);
    } catch (error) {
      if (!['log_damaged', 'log_partitions_changed'].includes(codeOf(error))) throw error;
    }
    this.#file.release();
    const paths = ['', '-wal', '-shm'].map((suffix) => `${this.#file.path}${suffix}`);
    try {
      for (const path of paths) rmSync(path, { force: true });
    } catch (error) {
      throw new CausewayError('log_unavailable', `the log ${this.#file.path} cannot be removed`, { cause: error });
    }
    this.#shared.changed(Array.from({ length: this.partitions }, (_none, partition) => partition));
    return [`log ${this.#file.path}`];
  }

  async #removeConsumer(consumer: string, signal: AbortSignal): Promise<readonly string[]> {
    const removed = await this.#file.write('remove', { consumer }, signal);
    const retained = this.#shared.retained?.filter((name) => name !== consumer) ?? null;
    this.#shared.retained = retained;
    await this.#trimAll(signal);
    const lines = [];
    if (removed.progress > 0) lines.push(`progress of ${consumer} in ${removed.progress} partitions`);
    if (removed.letters > 0) lines.push(`${removed.letters} dead letters of ${consumer}`);
    return lines;
  }

  async #trimAll(signal: AbortSignal): Promise<void> {
    for (let partition = 0; partition < this.partitions; partition += 1) {
      while (await trimmed({ file: this.#file, shared: this.#shared, keepBytes: this.#keepBytes }, partition, signal));
    }
    this.#shared.changed(['room']);
  }
}
