import type { Barrier, Chunk } from '../chunk/barrier.ts';
import { ChunkSize } from '../chunk/size.ts';
import { assert } from '#core/assert.ts';
import { controlKeys, type RequestRow } from '#core/control-rows.ts';
import type { ControlKey } from '#core/control.ts';
import { codeOf, policyFor } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import type { Epoch } from '#core/position.ts';
import type { RowReader } from '#core/row-reader.ts';
import {
  readRowsRequest,
  rowDigest,
  ROWS_REQUEST_KEYS_MAX,
  type KeyAnswer,
  type RowsAnswer,
  type RowsRequestArgs,
} from '#core/rows-request.ts';
import type { TableId } from '#core/schema.ts';
import { encodeSequence, maxSequence, minSequence, watermarkSequence } from '#core/sequence.ts';
import { changeRow, listRows, type ControlAccess } from './control-rows.ts';
import type { CaptureDeps } from './deps.ts';
import { rideOut } from './heartbeats.ts';

export type RowsRequestsInput = {
  readonly deps: CaptureDeps;
  readonly access: ControlAccess;
  readonly barrier: Barrier;
  readonly epoch: Epoch;
  /** False for a table that is stopped or not captured: nothing of it is read. */
  readonly captures: (table: TableId) => boolean;
  /** How many records of the generation there are. */
  readonly recordsNow: () => number;
};

/** A request as it was found: one that stands there with other words is another one. */
type Open = { readonly key: ControlKey; readonly row: RequestRow };

type Outcome =
  | { readonly tag: 'answered'; readonly answer: RowsAnswer }
  | { readonly tag: 'failed'; readonly reason: string }
  | { readonly tag: 'again' };

/** What is to be stored once so many records of the generation are durable. */
type Answer = Open & { readonly records: number; readonly outcome: Exclude<Outcome, { readonly tag: 'again' }> };

/**
 * Reads single keys for whoever asks: a request waits in the control store, its chunk goes through the barrier, and its answer is stored
 * only once what was published is durable in the log, and behind the checkpoint, which tells whether this generation may still store
 * anything. A holder that dies before has answered nothing, and the next one does it again: what it publishes then is the newest row
 * of the key once more, at a higher commit, and so changes nothing that the first time did not, or should have.
 */
export class RowsRequests {
  readonly #input: RowsRequestsInput;
  readonly #answers = new Map<ControlKey, Answer>();

  constructor(input: RowsRequestsInput) {
    this.#input = input;
  }

  /** True while an answer is not stored. */
  get isOwing(): boolean {
    return this.#answers.size > 0;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { deps } = this.#input;
    const { runtime, options, source } = deps;
    while (true) {
      const open = await this.#look(signal);
      if (open.length > 0) {
        await using rows = source.rows();
        // Each by itself: one that cannot be served now keeps none from those behind it.
        for (const request of open) {
          await rideOut({ deps, during: 'reading rows for a request' }, signal, () => this.#serve(request, rows, signal));
        }
      }
      await runtime.sleep(options.loadPollMs, signal);
    }
  }

  /**
   * Stores the answers whose records, up to the first `records` of the generation, the checkpoint that was stored last has as durable.
   */
  async store(records: number, signal: AbortSignal): Promise<void> {
    for (const answer of [...this.#answers.values()]) {
      if (answer.records > records) continue;
      await changeRow<RequestRow>(this.#input.access, { key: answer.key, change: (current) => answered(current, answer) }, signal);
      this.#answers.delete(answer.key);
    }
  }

  async #look(signal: AbortSignal): Promise<readonly Open[]> {
    const { access, deps } = this.#input;
    const found = await listRows(access, controlKeys.requests(deps.pipeline), signal);
    return found
      .map(({ key, value }) => ({ key, row: value as RequestRow }))
      .filter(({ key, row }) => row.kind === 'rows' && row.state === 'pending' && !this.#answers.has(key));
  }

  async #serve(request: Open, rows: RowReader, signal: AbortSignal): Promise<void> {
    const outcome = await this.#outcomeOf(request.row, rows, signal);
    if (outcome.tag !== 'again') this.#answers.set(request.key, { ...request, outcome, records: this.#input.recordsNow() });
  }

  async #outcomeOf({ args }: RequestRow, rows: RowReader, signal: AbortSignal): Promise<Outcome> {
    const read = readRowsRequest(args);
    if (read.tag === 'refused') return { tag: 'failed', reason: read.reason };
    const { asked } = read;
    if (!this.#input.captures(asked.table)) return notCaptured(asked.table);
    try {
      return await this.#read(asked, rows, signal);
    } catch (error) {
      signal.throwIfAborted();
      // What no other try mends: a key that its column's type does not read, a table that cannot be read by its key.
      const isAnswer = codeOf(error) !== 'source_identity_changed' && codeOf(error).startsWith('source_');
      if (!isAnswer || policyFor(codeOf(error)).retry === 'timed') throw error;
      return { tag: 'failed', reason: `${asked.table}: ${codeOf(error)}: ${error instanceof Error ? error.message : ''}` };
    }
  }

  /** In as many chunks as the rows need: nearly always that is one. */
  async #read(asked: RowsRequestArgs, rows: RowReader, signal: AbortSignal): Promise<Outcome> {
    const { barrier, captures, deps } = this.#input;
    const { table, sink } = asked;
    const keys = [...new Set(asked.keys)];
    const size = new ChunkSize({ ...deps.options.chunk, rowsFirst: ROWS_REQUEST_KEYS_MAX, rowsMax: ROWS_REQUEST_KEYS_MAX });
    const chunks: Chunk[] = [];
    for (let at = 0; at < keys.length;) {
      const { rowsMax, ...limits } = size.next();
      const range = { tag: 'keys', keys: keys.slice(at, at + rowsMax) } as const;
      const purpose = { tag: 'rows', sink, publishes: asked.purpose === 'publish' } as const;
      const startedMs = deps.runtime.monotonicMs();
      const outcome = await barrier.chunk({ table, range, rowsMax: range.keys.length + 1, ...limits, purpose }, rows, signal);
      if (!captures(table)) return notCaptured(table);
      if (outcome.tag === 'placed') {
        chunks.push(outcome.chunk);
        size.took(outcome.chunk.read, deps.runtime.monotonicMs() - startedMs);
        at += range.keys.length;
      } else if (outcome.reason === 'hot') size.tooHot();
      else if (outcome.reason === 'large') size.tooLarge();
      else if (outcome.reason === 'keys') return { tag: 'failed', reason: `a key of ${table} is not written as the source writes it` };
      else return { tag: 'again' };
    }
    return { tag: 'answered', answer: answerOf(asked, chunks, this.#input.epoch) };
  }
}

function notCaptured(table: TableId): Outcome {
  const reason = `${table} is stopped or not captured, so its rows are not read: \`causeway status\` tells why`;
  return { tag: 'failed', reason };
}

function answerOf(asked: RowsRequestArgs, chunks: readonly Chunk[], epoch: Epoch): RowsAnswer {
  const lows = chunks.map(({ low }) => encodeSequence({ epoch, commit: low, change: 0n, sub: 0 }));
  const highs = chunks.map(({ high }) => watermarkSequence(epoch, high.commit));
  const digests = new Map(asked.keys.map((key, at) => [key, asked.digests[at] ?? null]));
  const answers = new Map<RowKey, KeyAnswer>();
  const tell = (key: RowKey, digest: string | null): void => {
    const isSame = digest === (digests.get(key) ?? null);
    answers.set(key, asked.purpose === 'publish' ? 'published' : isSame ? 'same' : 'changed');
  };
  for (const { cold, whole, absent } of chunks) {
    // A row that cannot be shown as values has no digest that anybody could have made.
    for (const { key, row } of cold) tell(key, row === null ? '' : rowDigest(asked.salt, row));
    for (const key of absent) tell(key, null);
    if (asked.purpose === 'publish') for (const { key } of whole) answers.set(key, 'published');
  }
  return {
    low: lows.reduce(minSequence),
    high: highs.reduce(maxSequence),
    keys: asked.keys.map((key) => answers.get(key) ?? 'hot'),
  };
}

function answered(current: RequestRow | null, { row, outcome }: Answer): RequestRow | null {
  if (current === null || JSON.stringify(current) !== JSON.stringify(row)) return null;
  if (outcome.tag === 'failed') return { ...current, state: 'failed', result: outcome.reason };
  const { answer } = outcome;
  assert(answer.keys.length > 0, 'a request is of some keys');
  return { ...current, state: 'done', result: countsOf(answer.keys), args: { ...current.args, answer } };
}

function countsOf(keys: readonly KeyAnswer[]): string {
  const counts = Map.groupBy(keys, (answer) => answer);
  return [...counts].map(([answer, those]) => `${those.length} ${answer}`).join(', ');
}
