import { Barrier, type Chunk, type Due } from '../chunk/barrier.ts';
import { ShownTransactions } from '../chunk/shown.ts';
import type { CheckpointRow } from '#core/control-rows.ts';
import type { SourceMessage } from '#core/event.ts';
import type { LoadRow } from '#core/load-row.ts';
import type { Epoch } from '#core/position.ts';
import { randomName } from '#core/random-name.ts';
import type { RowRead } from '#core/row-reader.ts';
import type { SlotFacts } from '#core/source.ts';
import { untilBeatMs } from '#core/runtime.ts';
import type { OpenLoad } from '#core/sink.ts';
import type { TableId } from '#core/schema.ts';
import { unshownOf } from './checkpoint.ts';
import type { Encoder } from './encode.ts';
import type { EncodedBatch } from './encoded-batch.ts';
import type { FirstStart } from './first-start.ts';
import { rideOut } from './heartbeats.ts';
import { LoadBudget } from './load-budget.ts';
import { Loader } from './loader.ts';
import { Loads } from './loads.ts';
import { RowsRequests } from './rows-requests.ts';

/** Rows of a chunk that are encoded in one turn. */
const PLACED_AT_ONCE = 500;

/** Transactions that reads do not show yet and that are stored with a checkpoint. With more the next holder waits until all that ran is over. */
const UNSHOWN_STORED_MAX = 1_000;

export type ChunksInput = {
  readonly start: FirstStart;
  readonly checkpoint: CheckpointRow;
  readonly epoch: Epoch;
  readonly encoder: Encoder;
  /** Encodes, and hands the batch to the log in the same turn. */
  readonly publish: (encode: () => EncodedBatch) => void;
  /** Resolves once there is room for more. */
  readonly room: () => Promise<void>;
  /** Somebody waits for the watermark behind what was placed. */
  readonly onAwaited: () => void;
};

/** Reads of tables beside the stream of one generation: what is read has its place between two transactions of the stream. */
export class Chunks {
  readonly #input: ChunksInput;
  readonly #barrier: Barrier;
  readonly #loads: Loads;
  readonly #loader: Loader;
  readonly #requests: RowsRequests;
  #durable = 0;
  readonly #budget: LoadBudget;
  #isPlacing = false;

  constructor(input: ChunksInput) {
    const { start, checkpoint, epoch, encoder, publish } = input;
    const { deps, access, owner, tables } = start;
    const { runtime, pipeline, observer, options } = deps;
    this.#input = input;
    const shown = new ShownTransactions(unshownOf(checkpoint), options.shownMax);
    this.#barrier = new Barrier({ runtime, name: randomName(runtime), shown });
    const onChange = (rows: Loads['rows']): void => observer.loads(rows);
    this.#budget = new LoadBudget({ runtime, observer });
    this.#loads = new Loads({ access, pipeline, generation: owner.generation, onChange });
    const captures = (table: TableId): boolean => tables.captures(table);
    const recordsNow = (): number => encoder.records;
    const barrier = this.#barrier;
    this.#requests = new RowsRequests({ deps, access, barrier, epoch, captures, recordsNow });
    this.#loader = new Loader({
      deps,
      loads: this.#loads,
      barrier,
      broadcast: (record) => {
        publish(() => encoder.control(() => record));
        return encoder.records;
      },
      captures,
      isHeld: () => this.#budget.isHeld,
      recordsNow,
    });
  }

  /** True from the high watermark of a chunk on until its rows are published: no watermark that is above them may stand before them. */
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

  /** Loads that the log shows as open are carried on, also where their rows were lost. */
  async restore(open: readonly OpenLoad[], signal: AbortSignal): Promise<void> {
    await this.#loads.restore(open, signal);
  }

  /** Before the generation's first watermark, and in the turn in which a table begins to be captured. */
  open(): void {
    this.#loader.open();
  }

  /** Loads what is to be loaded, and looks at what reads show, until `signal`. */
  get tasks(): readonly ((signal: AbortSignal) => Promise<void>)[] {
    return [(signal) => this.#loader.run(signal), (signal) => this.#requests.run(signal), (signal) => this.#lookAtReads(signal)];
  }

  /** Publishes what the stream has shown, in pieces where a chunk has its place between two transactions. */
  async take(messages: readonly SourceMessage[], signal: AbortSignal): Promise<void> {
    const { encoder, publish, room } = this.#input;
    for (let at = 0; at < messages.length;) {
      const { next, due, held } = this.#barrier.observe(messages, at);
      const piece = at === 0 && next === messages.length ? messages : messages.slice(at, next);
      this.#isPlacing = due.length > 0;
      publish(() => encoder.encode(piece));
      await room();
      for (const chunk of due) await this.#place(chunk, signal);
      this.#isPlacing = false;
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
    this.#durable = records;
  }

  /** So many of them are durable. */
  get durableRecords(): number {
    return this.#durable;
  }

  /** True while an answer waits for a checkpoint that may be stored. */
  get isOwing(): boolean {
    return this.#requests.isOwing;
  }

  /** What a checkpoint at this commit has to remember of commits that reads do not show yet; null where it is not known. */
  unshownAt(commit: bigint | null): readonly string[] | null {
    return this.#barrier.shown.upTo(commit, UNSHOWN_STORED_MAX);
  }

  /**
   * Behind the checkpoint of this generation, which has the first `records` records as durable. Those that became so since may stand behind
   * the next generation's opening, where they change nothing.
   */
  async store(records: number, signal: AbortSignal): Promise<void> {
    this.#loads.durable(records);
    await this.#loads.store(signal);
    await this.#requests.store(records, signal);
  }

  /** Behind every change up to the chunk's high watermark, before any later one. In pieces, so that no more waits than may. */
  async #place({ chunk, placed }: Due, signal: AbortSignal): Promise<void> {
    const { start, encoder, publish, room } = this.#input;
    const { read, high, purpose } = chunk;
    const { schema } = read;
    const parts = partsOf(chunk);
    if (start.tables.captures(schema.table) && !start.tables.remembers(schema)) await start.tables.remember(schema, signal);
    const op = purpose.tag === 'load' ? 'read' : 'repair';
    for (const { rows, commit } of parts) {
      for (let at = 0; at < rows.length; at += PLACED_AT_ONCE) {
        signal.throwIfAborted();
        const some = rows.slice(at, at + PLACED_AT_ONCE);
        publish(() => encoder.chunk({ schema, op, rows: some, commit, sink: purpose.sink }, high));
        await room();
      }
    }
    if (purpose.tag === 'rows') this.#input.onAwaited();
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

type Part = { readonly rows: readonly RowRead[]; readonly commit: bigint };

/** What is published of a chunk, and as of which commit. */
function partsOf({ purpose, cold, whole, absent, low, high }: Chunk): readonly Part[] {
  if (purpose.tag === 'rows' && !purpose.publishes) return [];
  return [
    { rows: cold, commit: low },
    { rows: absent.map((key) => ({ key, row: null, withheld: null })), commit: low },
    { rows: whole, commit: high.commit },
  ];
}
