import { present } from '#core/assert.ts';
import { partitionOf } from '#core/hash.ts';
import type { RowKey } from '#core/key.ts';
import { randomName } from '#core/random-name.ts';
import type { RowReader, RowsRead } from '#core/row-reader.ts';
import { keysOfOneRequest, rowDigest, type RowsAnswer } from '#core/rows-request.ts';
import type { TableId } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';
import type { Difference, DifferenceCause, SinkRow } from '#core/sink.ts';
import type { Row } from '#core/value.ts';
import type { ReconcileDeps } from './deps.ts';
import { askHolder } from './holder.ts';
import { differingColumns, isSameRow } from './same.ts';
import type { SinkStanding } from './standing.ts';

/** Rows of so many keys are more than is read at once. */
class TooLarge extends Error {}

/** Looks at a barrier before a key that never stands still is left to the log. */
const ROUNDS = 3;

/** So few keys are asked about at once: to wait until most of them are the same by themselves takes as long. */
const STRAIGHT_MAX = 100;

/** What came of keys that were suspects. The others are the same at source and sink. */
export type CloseLook = { readonly differences: readonly Difference[]; readonly parked: number; readonly settled: number };

/** As the sink would give it back; null where the source has no row. Undefined: not a row that the sink can hold. */
type Expected = Row | null | undefined;

type Sides = { readonly source: ReadonlyMap<RowKey, Expected>; readonly sink: ReadonlyMap<RowKey, SinkRow> };

/**
 * Looks at single keys until it is certain of each whether source and sink differ at one common cut: behind a barrier of the capture
 * holder, once the sink's appliers have passed it, a key that did not change in the barrier's window has to be at the sink as the
 * source showed it. What changed meanwhile is looked at again.
 */
export class CloseLooks {
  readonly #deps: ReconcileDeps;
  readonly #standing: SinkStanding;
  readonly #rows: RowReader;
  readonly #lane: number;

  /** `lane`: one that nobody else asks the capture holder on meanwhile. */
  constructor(of: { readonly deps: ReconcileDeps; readonly standing: SinkStanding; readonly rows: RowReader; readonly lane: number }) {
    this.#deps = of.deps;
    this.#lane = of.lane;
    this.#standing = of.standing;
    this.#rows = of.rows;
  }

  /** Errors: `reconcile_inconclusive`, those of source and sink. */
  async look(table: TableId, keys: readonly RowKey[], signal: AbortSignal): Promise<CloseLook> {
    const looks: CloseLook[] = [];
    for (let rest = keys, atOnce = keys.length; rest.length > 0;) {
      const some = keysOfOneRequest(rest).slice(0, atOnce);
      try {
        looks.push(await this.#look(table, some, signal));
      } catch (error) {
        if (!(error instanceof TooLarge)) throw error;
        atOnce = Math.ceil(some.length / 2);
        continue;
      }
      rest = rest.slice(some.length);
    }
    return {
      differences: looks.flatMap(({ differences }) => differences),
      parked: looks.reduce((sum, { parked }) => sum + parked, 0),
      settled: looks.reduce((sum, { settled }) => sum + settled, 0),
    };
  }

  async #look(table: TableId, keys: readonly RowKey[], signal: AbortSignal): Promise<CloseLook> {
    const seen = new Map<RowKey, Sequence>();
    const differences: Difference[] = [];
    let left = keys.length > STRAIGHT_MAX ? await this.#lookBeside(table, keys, signal) : keys;
    const parked = await this.#parkedAmong(left, signal);
    left = left.filter((key) => !parked.has(key));
    for (let round = 0; round < ROUNDS && left.length > 0; round += 1) {
      const found = await this.#lookAtCut({ table, keys: left, seen }, signal);
      differences.push(...found.differences);
      left = found.again;
    }
    // A key can be parked at any moment, and then differs by right.
    const late =
      differences.length === 0
        ? new Set<RowKey>()
        : await this.#parkedAmong(
            differences.map(({ key }) => key),
            signal,
          );
    if (left.length > 0) await this.#settle(table, left, signal);
    return {
      differences: differences.filter(({ key }) => !late.has(key)),
      parked: parked.size + late.size,
      settled: left.length,
    };
  }

  /** Nearly every suspect only changed between the two scans: read again, the sink behind the source, they are the same. */
  async #lookBeside(table: TableId, keys: readonly RowKey[], signal: AbortSignal): Promise<readonly RowKey[]> {
    const read = await this.#read(table, keys, signal);
    await this.#standing.hasTaken(read.readAt, signal);
    const { source, sink } = await this.#sides(read, keys, signal);
    const newest = await this.#standing.newest(signal);
    return keys.filter((key) => {
      const stored = sink.get(key);
      if (newest === null || (stored?.sequence ?? null) === null) return !isEqual(read, source.get(key), stored);
      return present(stored?.sequence, 'a sequence') > newest || !isEqual(read, source.get(key), stored);
    });
  }

  async #lookAtCut(
    of: { readonly table: TableId; readonly keys: readonly RowKey[]; readonly seen: Map<RowKey, Sequence> },
    signal: AbortSignal,
  ): Promise<{ readonly differences: readonly Difference[]; readonly again: readonly RowKey[] }> {
    const { table, keys, seen } = of;
    const read = await this.#read(table, keys, signal);
    const salt = randomName(this.#deps.runtime);
    const rows = new Map(read.rows.map(({ key, row }) => [key, row]));
    const digests = keys.map((key) => {
      const row = rows.get(key) ?? null;
      return row === null ? null : rowDigest(salt, row);
    });
    const { sinkName } = this.#deps;
    const args = { table, sink: sinkName, keys, purpose: 'confirm', salt, digests } as const;
    const answer = await askHolder(this.#deps, { lane: this.#lane, args }, signal);
    await this.#standing.hasPassed(answer.high, signal);
    const { source, sink } = await this.#sides(read, keys, signal);
    // A sink that was put back to an older state meanwhile has yet to come to the cut again.
    if (!(await this.#standing.isPast(answer.high, signal))) return { differences: [], again: keys };
    const differences: Difference[] = [];
    const again: RowKey[] = [];
    for (const [at, key] of keys.entries()) {
      const expected = source.get(key);
      const stored = sink.get(key);
      const sequence = stored?.sequence ?? null;
      const verdict = verdictOf({ answer, at, sequence, before: seen.get(key) ?? null, isEqual: isEqual(read, expected, stored) });
      if (sequence !== null) seen.set(key, sequence);
      if (verdict === 'again') again.push(key);
      else if (verdict !== 'same')
        differences.push(differenceOf({ read, key, expected: expected ?? null, stored, cut: answer.low, isAhead: verdict === 'ahead' }));
    }
    return { differences, again };
  }

  /** The row, or that there is none, goes into the log once more: whatever the sink holds of older origin is replaced. */
  async #settle(table: TableId, keys: readonly RowKey[], signal: AbortSignal): Promise<void> {
    await publish(this.#deps, { table, keys, lane: this.#lane }, signal);
  }

  async #read(table: TableId, keys: readonly RowKey[], signal: AbortSignal): Promise<RowsRead> {
    const wanted = {
      table,
      range: { tag: 'keys', keys },
      rowsMax: keys.length + 1,
      bytesMax: keys.length > 1 ? this.#deps.options.chunkBytesMax : Number.MAX_SAFE_INTEGER,
      accepts: () => true,
    } as const;
    const read = present(await this.#rows.read(wanted, signal), 'a read that accepts every snapshot');
    if (!read.isWhole && keys.length > 1) throw new TooLarge();
    return read;
  }

  /** The sink's own values of the keys, and what was read of the source in the same domain, which a sink knows once it was read. */
  async #sides(read: RowsRead, keys: readonly RowKey[], signal: AbortSignal): Promise<Sides> {
    const stored = await this.#deps.sink.read(read.schema, keys, signal);
    const domain = this.#deps.sink.readBack(read.schema);
    const source = new Map<RowKey, Expected>(keys.map((key) => [key, null]));
    for (const { key, row } of read.rows) source.set(key, row === null ? undefined : (domain(row) ?? undefined));
    return { source, sink: new Map(stored.map((row) => [row.key, row])) };
  }

  async #parkedAmong(keys: readonly RowKey[], signal: AbortSignal): Promise<ReadonlySet<RowKey>> {
    const { log, sinkName } = this.#deps;
    const parked = new Set<RowKey>();
    const letters = log.deadLetters(sinkName);
    for (const [partition, own] of Map.groupBy(keys, (key) => partitionOf(key, log.partitions))) {
      const wanted = new Set(own);
      for await (const { key } of letters.read(partition, signal)) if (wanted.has(key)) parked.add(key);
    }
    return parked;
  }
}

/** What the source holds of the keys now goes into the log, for this sink. */
export async function publish(
  deps: ReconcileDeps,
  of: { readonly table: TableId; readonly keys: readonly RowKey[]; readonly lane: number },
  signal: AbortSignal,
): Promise<RowsAnswer> {
  const { table, keys, lane } = of;
  const args = { table, sink: deps.sinkName, keys, purpose: 'publish', salt: randomName(deps.runtime), digests: [] } as const;
  return await askHolder(deps, { lane, args }, signal);
}

function isEqual({ schema }: RowsRead, expected: Expected, stored: SinkRow | undefined): boolean {
  const row = stored?.row ?? null;
  if (expected === undefined) return false;
  if (expected === null || row === null) return expected === row;
  return isSameRow(schema, expected, row);
}

/**
 * What is known of a key at the cut. A sequence above the cut is a later change, so the key is looked at again: unless it stood there before
 * the cut was made, which no change of the source can have brought.
 */
export function verdictOf(of: {
  readonly answer: RowsAnswer;
  readonly at: number;
  readonly sequence: Sequence | null;
  /** What was stored when the key was looked at before this cut; null where that is not known. */
  readonly before: Sequence | null;
  readonly isEqual: boolean;
}): 'same' | 'again' | 'differs' | 'ahead' {
  const { answer, at, sequence, before } = of;
  // Whatever becomes of the key: nothing that the source did can have brought this.
  if (sequence !== null && sequence > answer.high && before === sequence) return 'ahead';
  if (answer.keys[at] !== 'same' || (sequence !== null && sequence > answer.high)) return 'again';
  // Between the two watermarks it did not change, so what stands there is a repair, or a row of a chunk.
  if (of.isEqual) return 'same';
  return sequence !== null && sequence > answer.low ? 'again' : 'differs';
}

function differenceOf(of: {
  readonly read: RowsRead;
  readonly key: RowKey;
  readonly expected: Row | null;
  readonly stored: SinkRow | undefined;
  readonly cut: Sequence;
  readonly isAhead: boolean;
}): Difference {
  const { read, key, expected, stored, cut } = of;
  const row = stored?.row ?? null;
  // Where neither end has a row, it is the register that differs.
  const kind = (row === null) === (expected === null) ? 'mismatched' : row === null ? 'missing' : 'extra';
  const columns = row === null || expected === null ? [] : differingColumns(read.schema, expected, row);
  return { table: read.schema.table, kind, key, cut, stored: stored?.sequence ?? null, cause: causeOf(of), columns };
}

/** As likely as it can be told from the rows alone; the log tells more, as long as it holds the key's newest change. */
function causeOf(of: { readonly stored: SinkRow | undefined; readonly isAhead: boolean }): DifferenceCause {
  if (of.isAhead) return 'sequence_ahead';
  // Every row that Causeway writes has a sequence.
  if ((of.stored?.row ?? null) !== null && of.stored?.sequence === null) return 'foreign_write';
  return 'unknown';
}
