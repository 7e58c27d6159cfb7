// The ports as one process holds them: the fakes of test/support behind a line on which things go wrong.
import type { RowReader } from '#core/row-reader.ts';
import type { ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import type { SourceMessage } from '#core/event.ts';
import type { RowKey } from '#core/key.ts';
import type { DeadLetters, Log, LogBatch, LogProgress, LogReader, LogWriter, PartitionAssignment, ReleasedLetter } from '#core/log.ts';
import type { Offset, Position, WallMs } from '#core/position.ts';
import type { Sequence } from '#core/sequence.ts';
import type { Runtime } from '#core/runtime.ts';
import type { Sink, SinkPartition } from '#core/sink.ts';
import type { Source, SourceStream } from '#core/source.ts';
import { FakeSource, type FakeDatabase, type FakeStream } from '../support/fake-source.ts';
import { MemoryControlStore, type MemoryControlRows } from '../support/memory-control-store.ts';
import { LetterEffects, type LetterCall } from '../support/memory-letters.ts';
import { MemoryLog } from '../support/memory-log.ts';
import { page, type MemoryLogStore } from '../support/memory-log-store.ts';
import { MemorySink, type MemorySinkStore } from '../support/memory-sink.ts';
import { hashed } from './chance.ts';
import { nothing, type Life } from './life.ts';
import type { Line } from './network.ts';

const never = new AbortController().signal;
const WALL_START_MS = Date.UTC(2026, 0, 1);

export function lifeRuntime(line: Line, options: { readonly seed: number; readonly wallSkewMs: () => number }): Runtime {
  const { life, network } = line;
  let draws = 0;
  /** Answers at once, so that a crash here takes effect at the next call that waits. */
  const atOnce = (site: 'runtime.monotonicMs' | 'runtime.wallMs' | 'runtime.random'): void => {
    if (life.dead) return;
    const { fault } = network.enter(life, site);
    if (fault !== null) network.crash(life, fault.ms);
  };
  return {
    wallMs() {
      atOnce('runtime.wallMs');
      return Math.round(WALL_START_MS + options.wallSkewMs() + network.loop.nowMs) as WallMs;
    },
    monotonicMs() {
      atOnce('runtime.monotonicMs');
      return life.monotonicMs;
    },
    random() {
      atOnce('runtime.random');
      draws += 1;
      return hashed(options.seed, 7_000 + life.id, draws);
    },
    sleep: (ms, signal) => sleep(line, ms, signal),
  };
}

function sleep(line: Line, ms: number, signal: AbortSignal): Promise<void> {
  const { life, network } = line;
  if (life.dead) return nothing();
  if (signal.aborted) return Promise.reject(signal.reason as Error);
  const { fault } = network.enter(life, 'runtime.sleep');
  if (fault?.kind === 'crash_before') {
    network.crash(life, fault.ms);
    return nothing();
  }
  return new Promise((resolve, reject) => {
    let open = true;
    const aborted = (): void => {
      open = false;
      if (!life.dead) reject(signal.reason as Error);
    };
    signal.addEventListener('abort', aborted, { once: true });
    // The machine's timers take a millisecond at least.
    const dueMs = life.monotonicMs + Math.max(1, ms) + (fault?.kind === 'delay' ? fault.ms : 0);
    const wait = (): void =>
      network.loop.in(Math.max(0.01, life.worldMs(dueMs - life.monotonicMs)), () =>
        life.deliver(() => {
          if (!open) return;
          // The clock stood for a while.
          if (dueMs - life.monotonicMs > 1e-6) {
            wait();
            return;
          }
          open = false;
          signal.removeEventListener('abort', aborted);
          if (fault?.kind === 'crash_after') network.crash(life, fault.ms);
          else resolve();
        }),
      );
    wait();
  });
}

export function lineControl(line: Line, rows: MemoryControlRows): ControlStore {
  const server = new MemoryControlStore(rows);
  return {
    get: (key, signal) => line.call('control.get', signal, () => server.get(key, never)),
    swap(write, signal) {
      // As it is now: the caller may change the object while the request is on its way.
      const text = JSON.stringify(write.value);
      return line.call('control.swap', signal, () => server.swap({ ...write, value: JSON.parse(text) as unknown }, never));
    },
    remove: (key, expected, signal) => line.call('control.remove', signal, () => server.remove(key, expected, never)),
    list: (prefix, signal) => line.call('control.list', signal, () => server.list(prefix, never)),
    [Symbol.asyncDispose]: done,
  };
}

/** What the checkers are told of the stream. */
export type StreamWatcher = {
  /** A position that may be acknowledged besides the ends of transactions. */
  readonly told: (position: Position) => void;
  readonly acknowledged: (position: Position, life: Life) => void;
};

/** `readMs`: extra time that reads of rows take at most. */
export function lineSource(line: Line, of: { readonly database: FakeDatabase; readonly readMs: number }, watcher: StreamWatcher): Source {
  const { database, readMs } = of;
  const server = new FakeSource(database);
  return {
    kind: server.kind,
    check: () => server.check(),
    inspect: (signal) => line.call('source.inspect', signal, () => server.inspect(never)),
    provision: (slot, signal) =>
      line.call('source.provision', signal, async () => {
        // A server that makes a slot waits for what is being committed then.
        if (slot === 'recreate' || (slot === 'create' && database.slot === null)) database.show();
        const position = await server.provision(slot, never);
        if (position !== null) watcher.told(position);
        return position;
      }),
    follow: (tables, signal) => server.follow(tables, signal),
    deprovision: (signal) => server.deprovision(signal),
    async open(signal) {
      let opened: SourceStream | null = null;
      line.life.onEnd(() => void opened?.[Symbol.asyncDispose]());
      return line.call('source.open', signal, async () => {
        const stream = await server.open(never);
        opened = stream;
        line.life.stream = () => stream.fail(new CausewayError('source_unavailable', 'the connection broke'));
        // Nobody is left to read it.
        if (line.life.dead) await stream[Symbol.asyncDispose]();
        return lineStream(line, stream, watcher);
      });
    },
    rows: () => lineRows(line, server.rows(), { spreadMs: readMs }),
    comparePositions: (a, b) => server.comparePositions(a, b),
    compareFingerprints: (stored, current, truncated) => server.compareFingerprints(stored, current, truncated),
    heartbeat: (signal) => line.call('source.heartbeat', signal, () => server.heartbeat(never)),
    addMark: (signal) => line.call('source.mark', signal, () => server.addMark(never)),
    dropMarks: (ids, signal) => line.call('source.mark', signal, () => server.dropMarks(ids, never)),
    [Symbol.asyncDispose]: done,
  };
}

function lineRows(line: Line, server: RowReader, slow: { readonly spreadMs: number }): RowReader {
  return {
    mark: (content, signal) => line.call('source.rows.mark', signal, () => server.mark(content, never), slow),
    look: (signal) => line.call('source.rows.look', signal, () => server.look(never)),
    read: (wanted, signal) => line.call('source.rows.read', signal, () => server.read(wanted, never), slow),
    [Symbol.asyncDispose]: done,
  };
}

function lineStream(line: Line, server: FakeStream, watcher: StreamWatcher): SourceStream {
  const { life, network } = line;
  return {
    async *messages(signal) {
      const inner = server.messages(signal)[Symbol.asyncIterator]();
      try {
        while (true) {
          const next = await line.call('source.messages', signal, () => inner.next());
          if (next.done === true) return;
          noteKeepalives(next.value, watcher);
          yield next.value;
        }
      } finally {
        // Not waited for: it may itself be waiting for the source's next word.
        inner.return?.().catch(() => undefined);
      }
    },
    acknowledge(position) {
      if (life.dead) return;
      const { fault, chance } = network.enter(life, 'source.acknowledge');
      if (fault?.kind === 'crash_before') {
        network.crash(life, fault.ms);
        return;
      }
      watcher.acknowledged(position, life);
      if (fault?.kind !== 'error' && !network.isCut(life.daemon, 'source')) {
        network.loop.in(chance * 2 + (fault?.kind === 'late' ? fault.ms : 0), () => server.acknowledge(position));
      }
      if (fault?.kind === 'crash_after') network.crash(life, fault.ms);
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

function noteKeepalives(messages: readonly SourceMessage[], watcher: StreamWatcher): void {
  for (const message of messages) if (message.tag === 'keepalive') watcher.told(message.position);
}

/** Records in one page: few, so that faults fall between them. */
const PAGE_MAX = 40;

/** A key that is not parked any more, and the newest of its changes that was. */
export type Release = { readonly key: RowKey; readonly sequence: Sequence };

export type LogWatcher = {
  readonly released: (consumer: string, partition: number, releases: readonly Release[]) => void;
  readonly committed: (consumer: string, partition: number, progress: LogProgress) => void;
};

/** `sharedReader`: of a log that shares its partitions out. */
export function lineLog(
  line: Line,
  store: MemoryLogStore,
  watcher: LogWatcher,
  sharedReader: ((consumer: string) => LogReader) | null,
): Log {
  const server = new MemoryLog(store);
  return {
    partitions: server.partitions,
    recordBytesMax: server.recordBytesMax,
    sharesPartitions: server.sharesPartitions,
    provision: (signal) => line.call('log.provision', signal, () => server.provision(never)),
    remove: (consumer, signal) => server.remove(consumer, signal),
    prepareConsumer: (consumer, options, signal) => server.prepareConsumer(consumer, options, signal),
    writer: (signal) => line.call('log.writer', signal, async () => lineWriter(line, await server.writer(never))),
    reader: (consumer, signal) =>
      line.call('log.reader', signal, () => sharedReader?.(consumer) ?? lineReader(line, store, { server, consumer, watcher })),
    async *read(partition, from, signal) {
      const inner = server.read(partition, from, never)[Symbol.asyncIterator]();
      while (true) {
        const next = await line.call('log.read', signal, () => inner.next());
        if (next.done === true) return;
        yield next.value;
      }
    },
    ends: (signal) => line.call('log.ends', signal, () => server.ends(never)),
    deadLetters: (consumer) => {
      const of = { store, consumer, server: server.deadLetters(consumer) };
      return lineLetters(line, of, (...what) => watcher.released(consumer, ...what));
    },
    retain: (consumers, signal) => line.call('log.retain', signal, () => server.retain(consumers, never)),
    usage: (signal) => server.usage(signal),
    [Symbol.asyncDispose]: done,
  };
}

function lineWriter(line: Line, server: LogWriter): LogWriter {
  let failed = false;
  return {
    async append(records, signal) {
      if (failed) throw new CausewayError('log_unavailable', 'an earlier append failed');
      try {
        return await line.call('log.append', signal, () => server.append(records, never));
      } catch (error) {
        failed = true;
        throw error;
      }
    },
    [Symbol.asyncDispose]: done,
  };
}

function lineReader(
  line: Line,
  store: MemoryLogStore,
  of: { readonly server: MemoryLog; readonly consumer: string; readonly watcher: LogWatcher },
): LogReader {
  const closing = new AbortController();
  return {
    async *assignments(signal) {
      for (const partition of store.partitions.keys()) {
        await line.call('log.assignments', signal, () => undefined);
        yield lineAssignment(line, store, { ...of, partition, revoked: closing.signal });
      }
      await new Promise((_resolve, reject) => {
        if (signal.aborted) reject(signal.reason as Error);
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      });
    },
    [Symbol.asyncDispose]() {
      closing.abort(new CausewayError('log_unavailable', 'the reader was closed'));
      return Promise.resolve();
    },
  };
}

function lineAssignment(
  line: Line,
  store: MemoryLogStore,
  of: {
    readonly server: MemoryLog;
    readonly consumer: string;
    readonly watcher: LogWatcher;
    readonly partition: number;
    readonly revoked: AbortSignal;
  },
): PartitionAssignment {
  const { partition, revoked, server, consumer } = of;
  /** The fake's own assignment, for what it stores. */
  const stored = async (): Promise<PartitionAssignment> => {
    const reader = await server.reader(consumer, never);
    for await (const assignment of reader.assignments(never)) if (assignment.partition === partition) return assignment;
    throw new Error('the log has no such partition');
  };
  return {
    partition,
    revoked,
    committed: async (signal) => (await stored()).committed(signal),
    batches: (from, signal) => linePages(line, store, { partition, from, ended: AbortSignal.any([signal, revoked]) }),
    commit: (progress, signal) =>
      line.call('log.commit', signal, async () => {
        of.watcher.committed(consumer, partition, progress);
        return (await stored()).commit(progress, never);
      }),
    rewind: async (progress, signal) => (await stored()).rewind(progress, signal),
  };
}

/** Pulls a partition's records from `from` on. */
export async function* linePages(
  line: Line,
  store: MemoryLogStore,
  of: { readonly partition: number; readonly from: Offset; readonly ended: AbortSignal },
): AsyncIterable<LogBatch> {
  const { partition, from, ended } = of;
  let at: number = from;
  while (true) {
    const records = await line.call('log.page', ended, () => page(store, partition, at, Math.min(store.endOf(partition), at + PAGE_MAX)));
    if (records.length > 0) {
      yield { partition, records };
      at += records.length;
    }
    while (at >= store.endOf(partition) && at >= store.partition(partition).start) {
      await store.changed(ended);
      await line.life.turn();
      // The log was cut off behind us: asking for the page tells.
      if (at > store.endOf(partition)) break;
    }
  }
}

function lineLetters(
  line: Line,
  of: { readonly store: MemoryLogStore; readonly consumer: string; readonly server: DeadLetters },
  released: (partition: number, releases: readonly Release[]) => void,
): DeadLetters {
  const effects = new LetterEffects(of.store, of.consumer);
  return {
    async take(partition, signal) {
      const token = await line.call('letters.take', signal, () => effects.take(partition));
      let calls = 0;
      // Numbered as they are sent.
      const next = (): LetterCall => ({ token, call: (calls += 1) });
      return {
        park(letters, signal) {
          const by = next();
          return line.call('letters.park', signal, () => effects.park(partition, by, letters));
        },
        release(releases, signal) {
          const by = next();
          return line.call('letters.release', signal, () => {
            effects.release(partition, by, releases);
            released(partition, releases);
          });
        },
        forget(replays, signal) {
          const by = next();
          return line.call('letters.forget', signal, () => effects.forget(partition, by, replays));
        },
      };
    },
    async *readReleased(partition, since, signal) {
      const read = (): Promise<readonly ReleasedLetter[]> => Array.fromAsync(of.server.readReleased(partition, since, never));
      yield* await line.call('letters.readReleased', signal, read);
    },
    async *read(partition, signal) {
      yield* await line.call('letters.read', signal, () => Array.fromAsync(of.server.read(partition, never)));
    },
  };
}

/** What the checkers are told of a process's dealings with a sink: called as it answers; what they return, as the answer arrives. */
export type SinkWatch = {
  readonly assigned: (partition: number) => () => void;
  readonly sweepsRead: () => () => void;
  readonly progressRead: () => () => void;
};

export function lineSink(
  line: Line,
  of: { readonly name: string; readonly store: MemorySinkStore; readonly batchRowsMax: number },
  watch: SinkWatch,
): Sink {
  const server = new MemorySink(of.store, { batchRowsMax: of.batchRowsMax });
  const slow = (): { readonly extraMs: number } => ({ extraMs: line.network.sinkDelayMs.get(of.name) ?? 0 });
  return {
    kind: server.kind,
    limits: server.limits,
    scansInOrder: server.scansInOrder,
    check: (schemas, signal) => server.check(schemas, signal),
    provision: (schemas, signal) => line.call('sink.provision', signal, () => server.provision(schemas, never), slow()),
    evolve: (after, change, signal) => line.call('sink.evolve', signal, () => server.evolve(after, change, never), slow()),
    differences: (schema, signal) => line.call('sink.differences', signal, () => server.differences(schema, never)),
    holdsRows: (schema, signal) => server.holdsRows(schema, signal),
    claim: (by, signal) => line.call('sink.claim', signal, () => server.claim(by, never), slow()),
    assign: async (partition, signal) => {
      const take = async () => ({ held: await server.assign(partition, never), arrived: watch.assigned(partition) });
      const { held, arrived } = await line.call('sink.assign', signal, take, slow());
      arrived();
      return linePartition(line, held, slow);
    },
    progress: async (signal) => {
      const read = async () => ({ stored: await server.progress(never), arrived: watch.progressRead() });
      const { stored, arrived } = await line.call('sink.progress', signal, read, slow());
      arrived();
      return stored;
    },
    sweep: (schema, floor, signal) => line.call('sink.sweep', signal, () => server.sweep(schema, floor, never), slow()),
    sweeps: async (signal) => {
      const read = async () => ({ swept: await server.sweeps(never), arrived: watch.sweepsRead() });
      const { swept, arrived } = await line.call('sink.sweeps', signal, read);
      arrived();
      return swept;
    },
    scan: (schema, range, signal) => server.scan(schema, range, signal),
    read: (schema, keys, signal) => line.call('sink.read', signal, () => server.read(schema, keys, never), slow()),
    readBack: (schema) => server.readBack(schema),
    reports: server.reports,
    remove: (owners, signal) => server.remove(owners, signal),
    [Symbol.asyncDispose]: done,
  };
}

function linePartition(line: Line, server: SinkPartition, slow: () => { readonly extraMs: number }): SinkPartition {
  return {
    partition: server.partition,
    token: server.token,
    start: server.start,
    apply: (batch, signal) => line.call('sink.apply', signal, () => server.apply(batch, never), slow()),
    save: (progress, signal) => line.call('sink.save', signal, () => server.save(progress, never), slow()),
    [Symbol.asyncDispose]: done,
  };
}

function done(): Promise<void> {
  return Promise.resolve();
}
