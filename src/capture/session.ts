import type { PartitionCheckpoint } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import type { SourceMessage } from '#core/event.ts';
import type { MonoMs, Position } from '#core/position.ts';
import { untilBeatMs } from '#core/runtime.ts';
import type { TableId } from '#core/schema.ts';
import { watermarkSequence } from '#core/sequence.ts';
import type { OpenLoad } from '#core/sink.ts';
import { Acknowledger } from './acknowledger.ts';
import { Chunks } from './chunks.ts';
import type { CaptureDeps } from './deps.ts';
import type { Encoder } from './encode.ts';
import type { EncodedBatch } from './encoded-batch.ts';
import type { FirstStart } from './first-start.ts';
import { Heartbeats, rideOut } from './heartbeats.ts';
import type { CaptureState } from './observer.ts';
import type { Connected } from './open.ts';
import { Newcomers } from './newcomers.ts';
import type { OwnRecords } from './own-records.ts';
import type { Durable, Publisher } from './publisher.ts';
import { connectPatiently, isRiddenOut, type StreamHolder } from './source-connection.ts';
import { runBeside } from './tasks.ts';
import { Watermarks } from './watermark.ts';

/** How often the log and the due watermarks are looked at. */
const TICK_MS = 500;

/** Everything that one generation holds once it is open. */
export class Session {
  readonly #start: FirstStart;
  readonly #deps: CaptureDeps;
  readonly #connected: Connected;
  readonly #holder: StreamHolder;
  readonly #encoder: Encoder;
  readonly #own: OwnRecords;
  readonly #openLoads: readonly OpenLoad[];
  readonly #acknowledger: Acknowledger;
  readonly #watermarks: Watermarks;
  readonly #heartbeats: Heartbeats;
  readonly #partitions: (PartitionCheckpoint | null)[];
  readonly #stop: AbortSignal;
  readonly #chunks: Chunks;
  readonly #newcomers: Newcomers;
  /** Aborted to let the stream begin anew. */
  #renewal = new AbortController();
  #publisher: Publisher | null = null;
  #state: CaptureState | null = null;
  #unsaved = false;
  /** How far the stream was read. */
  #reached: Position;
  /** Of the transaction being read. */
  #transactionId = '';
  /** Tables that it has truncated. */
  #truncated: TableId[] = [];
  #broken = false;
  #failures = 0;
  #connectedAt: MonoMs;

  constructor(input: {
    readonly start: FirstStart;
    readonly connected: Connected;
    readonly holder: StreamHolder;
    readonly encoder: Encoder;
    readonly own: OwnRecords;
    /** Loads that the log shows as open. */
    readonly openLoads: readonly OpenLoad[];
    readonly stop: AbortSignal;
  }) {
    const { source, options } = input.start.deps;
    const { checkpoint, epoch } = input.connected;
    this.#start = input.start;
    this.#deps = input.start.deps;
    this.#connected = input.connected;
    this.#holder = input.holder;
    this.#encoder = input.encoder;
    this.#own = input.own;
    this.#openLoads = input.openLoads;
    this.#stop = input.stop;
    this.#acknowledger = new Acknowledger((a, b) => source.comparePositions(a, b));
    this.#watermarks = new Watermarks({
      epoch: epoch.epoch,
      sequence: checkpoint.sequence,
      position: checkpoint.position,
      intervalMs: options.watermarkIntervalMs,
      idleIntervalMs: options.idleWatermarkIntervalMs,
    });
    this.#partitions = [...checkpoint.partitions];
    this.#heartbeats = new Heartbeats(input.start.deps, checkpoint.heartbeats);
    this.#chunks = new Chunks({
      start: input.start,
      checkpoint,
      epoch: epoch.epoch,
      encoder: input.encoder,
      publish: (encode) => this.deliver(this.#encoded(encode)),
      room: () => this.#log.room(),
      onAwaited: () => this.#watermarks.awaited(),
    });
    this.#newcomers = new Newcomers({
      deps: input.start.deps,
      tables: input.start.tables,
      loads: () => this.#chunks.loads,
      renew: () => this.#renewal.abort(new Error('the stream begins anew')),
    });
    this.#reached = checkpoint.position;
    this.#connectedAt = input.start.deps.runtime.monotonicMs();
  }

  publishTo(publisher: Publisher): void {
    this.#publisher = publisher;
  }

  /** Hands a batch to the log. In the same turn as it was encoded, so that counters are dense in the log. */
  deliver(batch: EncodedBatch): void {
    const { observer, options } = this.#deps;
    this.#log.push(batch.records, batch.bytes);
    for (const mark of batch.marks) {
      this.#reached = mark.position;
      if (mark.tag === 'commit') {
        this.#acknowledger.committed(mark);
        this.#watermarks.committed(mark);
      } else {
        this.#acknowledger.keepalive(mark.position);
      }
    }
    const { counts } = batch;
    if (counts.insert + counts.update + counts.delete + counts.truncate + counts.dropped > 0) {
      observer.read(counts);
      this.#watermarks.changesFlowed(batch.largestTransaction > options.largeTransactionChanges);
    }
    if (batch.marks.length > 0 && this.#watermarks.sourceTime !== null) observer.readUpTo(this.#watermarks.sourceTime);
    observer.queue(this.#log.pendingBytes, options.pendingBytesMax);
  }

  durable(durable: Durable): void {
    const { generation } = this.#start.owner;
    for (const [partition, offset] of durable.offsets) {
      this.#partitions[partition] = { generation, counter: durable.counters[partition] ?? 0, offset };
    }
    this.#unsaved = true;
    this.#acknowledger.durable(durable.records);
    this.#chunks.durable(durable.records);
    this.#deps.observer.published({ ...durable.batch, offsets: durable.offsets });
  }

  async run(signal: AbortSignal): Promise<void> {
    const { options } = this.#deps;
    this.#enter({ tag: 'streaming', generation: this.#start.owner.generation, epoch: this.#connected.epoch.epoch });
    await this.#chunks.look(signal);
    await this.#chunks.restore(this.#openLoads, signal);
    this.#chunks.slotSeen(this.#connected.slot);
    this.#chunks.open();
    await runBeside(
      {
        main: (inner) => this.#stream(inner),
        beside: [
          (inner) => this.#every(options.checkpointIntervalMs, () => this.#save(inner), inner),
          (inner) => this.#every(Math.min(TICK_MS, options.watermarkIntervalMs), () => this.#tick(), inner),
          (inner) => this.#heartbeats.run(inner),
          (inner) => this.#every(options.fingerprintIntervalMs, () => this.#look(inner), inner),
          (inner) => this.#newcomers.run(inner),
          ...this.#chunks.tasks,
        ],
      },
      signal,
    );
  }

  get #log(): Publisher {
    if (this.#publisher === null) throw new Error('the publisher is set before anything is delivered');
    return this.#publisher;
  }

  #isStopping(): boolean {
    return this.#stop.aborted;
  }

  async #every(intervalMs: number, act: () => Promise<void> | void, signal: AbortSignal): Promise<void> {
    const { runtime } = this.#deps;
    while (true) {
      await runtime.sleep(untilBeatMs(intervalMs, runtime.monotonicMs()), signal);
      signal.throwIfAborted();
      await act();
    }
  }

  /** Pulls until `stop`, taking the slot again whenever the connection breaks; then brings what is in hand to its end. */
  async #stream(signal: AbortSignal): Promise<void> {
    while (!this.#isStopping()) {
      try {
        await this.#pull(signal);
        if (this.#renewal.signal.aborted && !this.#isStopping()) await this.#reconnect(null, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (this.#isStopping()) break;
        if (!isRiddenOut(error)) throw error;
        await this.#reconnect(error, signal);
      }
    }
    this.#enter({ tag: 'stopping' });
    await this.#log.drained();
    await this.#save(signal);
    // While `signal` still stands: it would end the connection at once, and the acknowledgement may be on its way.
    await this.#holder.drop();
  }

  /** Leaves the iteration open at `stop`: ending it by its signal would end the connection, and what is in hand is still to be acknowledged. */
  async #pull(signal: AbortSignal): Promise<void> {
    const { stream } = this.#holder;
    if (stream === null) throw new CausewayError('source_unavailable', 'there is no connection to the source');
    const batches = stream.messages(signal)[Symbol.asyncIterator]();
    const leave = AbortSignal.any([this.#stop, this.#renewal.signal]);
    while (!leave.aborted) {
      const next = await unlessAborted(batches.next(), leave);
      if (next === null) return;
      if (next.done === true) throw new CausewayError('source_unavailable', 'the source ended the stream');
      await this.#remember(next.value, signal);
      signal.throwIfAborted();
      await this.#chunks.take(next.value, signal);
    }
  }

  /** After an error counters were given out for records that never come: nothing may follow them. */
  #encoded(encode: () => EncodedBatch): EncodedBatch {
    if (this.#broken) throw new CausewayError('log_unavailable', 'the generation ended');
    this.#broken = true;
    const batch = encode();
    this.#broken = false;
    return batch;
  }

  /**
   * A schema version stands in the control store before a change of it stands in the log, and a table's stop before the
   * changes that it leaves out can be acknowledged.
   */
  async #remember(messages: readonly SourceMessage[], signal: AbortSignal): Promise<void> {
    const { tables } = this.#start;
    for (const message of messages) {
      if (message.tag === 'schema' && !tables.remembers(message.schema)) await tables.remember(message.schema, signal);
      if (message.tag === 'begin') this.#transactionId = message.transactionId;
      if (message.tag === 'truncate') this.#truncated.push(...message.tables.map(({ table }) => table));
      if (message.tag === 'commit' && this.#truncated.length > 0) {
        tables.truncated(this.#truncated.splice(0), { by: this.#transactionId, position: message.position });
      }
      if (message.tag !== 'stopped') continue;
      await tables.stopped(message, signal);
      this.#encoder.tablesChanged();
    }
  }

  /** `cause`: null where nothing is wrong, and the stream is to carry more. */
  async #reconnect(cause: CausewayError | null, signal: AbortSignal): Promise<void> {
    const { generation } = this.#start.owner;
    const { observer, runtime, options } = this.#deps;
    this.#renewal = new AbortController();
    if (cause !== null) {
      observer.trouble(cause, 'streaming');
      this.#enter({ tag: 'reconnecting', generation, code: cause.code, message: cause.message });
    }
    await this.#holder.drop();
    this.#encoder.disconnected();
    this.#chunks.disconnected();
    this.#truncated = [];
    // What was received before the break goes first: afterwards it comes again, and the order of records stays one that the
    // source had.
    await this.#log.drained();
    await this.#save(signal);
    const lastedMs = runtime.monotonicMs() - this.#connectedAt;
    this.#failures = cause === null ? 0 : lastedMs > options.reconnectMaxMs ? 1 : this.#failures + 1;
    const patience = { own: this.#own, failures: this.#failures };
    const { stream, checkpoint } = await connectPatiently(this.#start, patience, AbortSignal.any([signal, this.#stop]));
    this.#connectedAt = runtime.monotonicMs();
    this.#holder.hold(stream);
    this.#encoder.connected(checkpoint.sequence);
    await this.#captureFresh(signal);
    this.#enter({ tag: 'streaming', generation, epoch: this.#connected.epoch.epoch });
  }

  /** Stores how far everything is durable, and only then tells the source. */
  async #save(signal: AbortSignal): Promise<void> {
    const { checkpoint } = this.#start;
    const stored = checkpoint.row;
    const position = this.#acknowledger.position ?? stored?.position ?? null;
    if (position === null || (!this.#unsaved && position === stored?.position && !this.#chunks.isOwing)) return;
    const { commit } = this.#acknowledger;
    const sequence = commit === null ? null : watermarkSequence(this.#connected.epoch.epoch, commit);
    this.#unsaved = false;
    const unshown = this.#chunks.unshownAt(commit);
    const durableRecords = this.#chunks.durableRecords;
    const step = { position, sequence, partitions: [...this.#partitions], heartbeats: this.#heartbeats.counted, unshown };
    const row = await checkpoint.advance(step, signal);
    this.#deps.observer.checkpoint(row);
    this.#holder.stream?.acknowledge(row.position);
    await this.#chunks.store(durableRecords, signal);
  }

  #tick(): void {
    const { runtime, observer, options } = this.#deps;
    const { generation } = this.#start.owner;
    const stalled = (this.#log.inFlightMs ?? 0) >= options.stallMs;
    if (stalled && this.#state?.tag === 'streaming') this.#enter({ tag: 'waiting_for_log', generation });
    if (!stalled && this.#state?.tag === 'waiting_for_log') {
      this.#enter({ tag: 'streaming', generation, epoch: this.#connected.epoch.epoch });
    }
    // A log that does not answer is not given more to keep waiting. And a chunk's rows stand before any watermark above them.
    if (stalled || this.#broken || this.#chunks.isPlacing) return;
    const watermark = this.#watermarks.due(runtime.monotonicMs());
    if (watermark === null) return;
    this.deliver(this.#encoder.control(() => watermark));
    observer.watermark(watermark);
  }

  /** Looks at what the stream does not show. */
  async #look(signal: AbortSignal): Promise<void> {
    const { source, observer } = this.#deps;
    await rideOut({ deps: this.#deps, during: 'looking at the tables' }, signal, async () => {
      const reached = this.#reached;
      const facts = await source.inspect(signal);
      observer.slot(facts.slot);
      this.#chunks.slotSeen(facts.slot);
      const { system, timeline } = this.#connected.epoch.identity;
      // Another server answers: its tables say nothing of ours, and the next connect decides.
      if (facts.identity.system !== system || facts.identity.timeline !== timeline) return;
      await this.#start.tables.observe(facts, reached, signal);
      await this.#captureFresh(signal);
    });
  }

  /** In one turn, so that no change of a table stands before its schema and the opening of its load. */
  async #captureFresh(signal: AbortSignal): Promise<void> {
    await this.#chunks.look(signal);
    if (this.#broken) return;
    this.#start.tables.begin();
    this.#encoder.tablesChanged();
    this.deliver(this.#encoder.announce(this.#start.tables.liveSchemas));
    this.#chunks.open();
  }

  #enter(state: CaptureState): void {
    this.#state = state;
    this.#deps.observer.state(state);
  }
}

/** Null once `signal` aborts, whatever becomes of `work`. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | null> {
  const aborted = Promise.withResolvers<null>();
  const abort = (): void => aborted.resolve(null);
  signal.addEventListener('abort', abort);
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
