import { Barrier, type Due } from '../chunk/barrier.ts';
import { ShownTransactions } from '../chunk/shown.ts';
import type { CheckpointRow } from '#core/control-rows.ts';
import type { SourceMessage } from '#core/event.ts';
import type { LoadRow } from '#core/load-row.ts';
import { randomName } from '#core/random-name.ts';
import type { SlotFacts } from '#core/source.ts';
import { untilBeatMs } from '#core/runtime.ts';
import { unshownOf } from './checkpoint.ts';
import type { Encoder } from './encode.ts';
import type { EncodedBatch } from './encoded-batch.ts';
import type { FirstStart } from './first-start.ts';
import { rideOut } from './heartbeats.ts';
import { LoadBudget } from './load-budget.ts';
import { Loader } from './loader.ts';
import { Loads } from './loads.ts';

/** Rows of a chunk that are encoded in one turn. */
const PLACED_AT_ONCE = 500;

/** Transactions that reads do not show yet and that are stored with a checkpoint. With more the next holder waits until all that ran is over. */
const UNSHOWN_STORED_MAX = 1_000;

export type ChunksInput = {
  readonly start: FirstStart;
  readonly checkpoint: CheckpointRow;
  readonly encoder: Encoder;
  /** Encodes, and hands the batch to the log in the same turn. */
  readonly publish: (encode: () => EncodedBatch) => void;
  /** Resolves once there is room for more. */
  readonly room: () => Promise<void>;
};

/** Reads of tables beside the stream of one generation: what is read has its place between two transactions of the stream. */
export class Chunks {
  readonly #input: ChunksInput;
  readonly #barrier: Barrier;
  readonly #loads: Loads;
  readonly #loader: Loader;
  readonly #budget: LoadBudget;
  #isPlacing = false;

  constructor(input: ChunksInput) {
    const { start, checkpoint, encoder, publish } = input;
    const { deps, access, owner, tables } = start;
    const { runtime, pipeline, observer, options } = deps;
    this.#input = input;
    const shown = new ShownTransactions(unshownOf(checkpoint), options.shownMax);
    this.#barrier = new Barrier({ runtime, name: randomName(runtime), shown });
    const onChange = (rows: Loads['rows']): void => observer.loads(rows);
    this.#budget = new LoadBudget({ runtime, observer });
    this.#loads = new Loads({ access, pipeline, generation: owner.generation, onChange });
    this.#loader = new Loader({
      deps,
      loads: this.#loads,
      barrier: this.#barrier,
      broadcast: (record) => {
        publish(() => encoder.control(() => record));
        return encoder.records;
      },
      captures: (table) => tables.captures(table),
      isHeld: () => this.#budget.isHeld,
      recordsNow: () => encoder.records,
    });
  }

  /** True while rows of a chunk are being published: no watermark that is above them may stand among them. */
  get isPlacing(): boolean {
    return this.#isPlacing;
  }

  /** Whether loads go on depends on what the slot makes the source keep. */
  slotSeen(slot: SlotFacts | null): void {
    this.#budget.look(slot, this.#loads.rows);
  }

  get loads(): readonly LoadRow[] {
    return this.#loads.rows;
  }

  /** Which loads there are now. */
  async look(signal: AbortSignal): Promise<void> {
    await this.#loads.look(signal);
  }

  /** Before the generation's first watermark, and in the turn in which a table begins to be captured. */
  open(): void {
    this.#loader.open();
  }

  /** Loads what is to be loaded, and looks at what reads show, until `signal`. */
  get tasks(): readonly ((signal: AbortSignal) => Promise<void>)[] {
    return [(signal) => this.#loader.run(signal), (signal) => this.#lookAtReads(signal)];
  }

  /** Publishes what the stream has shown, in pieces where a chunk has its place between two transactions. */
  async take(messages: readonly SourceMessage[], signal: AbortSignal): Promise<void> {
    const { encoder, publish, room } = this.#input;
    for (let at = 0; at < messages.length;) {
      const { next, due, held } = this.#barrier.observe(messages, at);
      const piece = at === 0 && next === messages.length ? messages : messages.slice(at, next);
      publish(() => encoder.encode(piece));
      await room();
      for (const chunk of due) await this.#place(chunk, signal);
      if (held !== null) await held;
      signal.throwIfAborted();
      at = next;
    }
  }

  /** The stream broke off. */
  disconnected(): void {
    this.#barrier.disconnected();
  }

  /** The first `records` records of the generation are durable. */
  durable(records: number): void {
    this.#loads.durable(records);
  }

  /** What a checkpoint at this commit has to remember of commits that reads do not show yet; null where it is not known. */
  unshownAt(commit: bigint | null): readonly string[] | null {
    return this.#barrier.shown.upTo(commit, UNSHOWN_STORED_MAX);
  }

  /** Behind the checkpoint of this generation. */
  async store(signal: AbortSignal): Promise<void> {
    await this.#loads.store(signal);
  }

  /** Behind every change up to the chunk's high watermark, before any later one. In pieces, so that no more waits than may. */
  async #place({ chunk, placed }: Due, signal: AbortSignal): Promise<void> {
    const { start, encoder, publish, room } = this.#input;
    const { read, high, purpose } = chunk;
    const { schema } = read;
    this.#isPlacing = true;
    if (start.tables.captures(schema.table) && !start.tables.remembers(schema)) await start.tables.remember(schema, signal);
    const parts = [
      { rows: chunk.cold, commit: chunk.low },
      { rows: chunk.whole, commit: high.commit },
    ];
    for (const { rows, commit } of parts) {
      for (let at = 0; at < rows.length; at += PLACED_AT_ONCE) {
        signal.throwIfAborted();
        const some = rows.slice(at, at + PLACED_AT_ONCE);
        publish(() => encoder.chunk({ schema, rows: some, commit, sink: purpose.sink }, high));
        await room();
      }
    }
    this.#isPlacing = false;
    placed();
  }

  /** A commit that reads do not show yet is forgotten once they do; nearly always that is at once. */
  async #lookAtReads(signal: AbortSignal): Promise<void> {
    const { deps } = this.#input.start;
    const { runtime, source, options } = deps;
    await using rows = source.rows();
    while (true) {
      await runtime.sleep(untilBeatMs(options.visibilityIntervalMs, runtime.monotonicMs()), signal);
      if (this.#barrier.shown.size === 0) continue;
      await rideOut({ deps, during: 'looking at what reads show' }, signal, async () => {
        this.#barrier.shown.looked(await rows.look(signal));
      });
    }
  }
}
