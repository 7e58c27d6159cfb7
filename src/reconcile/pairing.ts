import type { RowKey } from '#core/key.ts';
import { rowDigest } from '#core/rows-request.ts';
import type { TableSchema } from '#core/schema.ts';
import type { Row } from '#core/value.ts';
import { isSameRow, normalText } from './same.ts';
import type { Spill } from './spill.ts';

/** `pendingTextMax`: text of rows that wait for their counterpart in memory, in UTF-16 units. */
export type PairingLimits = { readonly pendingTextMax: number };

export type Side = 'source' | 'sink';

export type KeyedRow = { readonly key: RowKey; readonly row: Row };

/**
 * Pairs the rows of two scans of one table by their keys, whatever the order of each: a row waits until the other scan brings its key.
 * Where both scans have one order little ever waits; where they have not, what waits goes to disk beyond a limit, as a digest. Every key
 * that is not the same on both sides is a suspect, once: nothing is said of it yet, since the scans were at no one moment.
 */
export class Pairing {
  readonly #schema: TableSchema;
  readonly #limits: PairingLimits;
  readonly #spill: Spill;
  readonly #waiting = { source: new Map<RowKey, Row>(), sink: new Map<RowKey, Row>() };
  readonly #ended = { source: false, sink: false };
  /** Suspects already, though the other scan has yet to come to them. */
  readonly #apart: Set<RowKey>;
  #text = 0;
  #isSpilling = false;

  constructor(of: {
    readonly schema: TableSchema;
    readonly limits: PairingLimits;
    readonly spill: Spill;
    readonly apart: readonly RowKey[];
  }) {
    this.#schema = of.schema;
    this.#limits = of.limits;
    this.#spill = of.spill;
    this.#apart = new Set(of.apart);
  }

  waiting(side: Side): number {
    return this.#waiting[side].size;
  }

  /** False once rows wait on disk: what waits cannot be told then, and no place be stored. */
  get isInMemory(): boolean {
    return !this.#isSpilling;
  }

  get apart(): readonly RowKey[] {
    return [...this.#apart];
  }

  /** Rows of one scan, distinct by key. Returns suspects. */
  async add(side: Side, rows: readonly KeyedRow[]): Promise<readonly RowKey[]> {
    if (this.#isSpilling) {
      await this.#write(side, rows);
      return [];
    }
    const otherSide = side === 'source' ? 'sink' : 'source';
    const others = this.#waiting[otherSide];
    const own = this.#waiting[side];
    const suspects: RowKey[] = [];
    for (const { key, row } of rows) {
      const other = others.get(key);
      if (other !== undefined) {
        others.delete(key);
        this.#text -= textIn(other);
        if (!isSameRow(this.#schema, row, other)) suspects.push(key);
      } else if (this.#apart.size > 0 && this.#apart.delete(key)) {
        continue;
      } else if (this.#ended[otherSide]) {
        suspects.push(key);
      } else {
        own.set(key, row);
        this.#text += textIn(row);
      }
    }
    if (this.#text > this.#limits.pendingTextMax) await this.#begin();
    return suspects;
  }

  /** Keys of one scan that cannot be paired, whatever the other one brings of them: suspects, once. */
  setApart(side: Side, keys: readonly RowKey[]): readonly RowKey[] {
    const otherSide = side === 'source' ? 'sink' : 'source';
    const others = this.#waiting[otherSide];
    return keys.filter((key) => {
      if (this.#apart.delete(key)) return false;
      const other = others.get(key);
      if (other !== undefined) this.#text -= textIn(other);
      // A row of it may yet come, or wait on disk.
      if (!others.delete(key) && (this.#isSpilling || !this.#ended[otherSide])) this.#apart.add(key);
      return true;
    });
  }

  /** The scan is at its end: what waits for a row of it waits in vain. */
  end(side: Side): readonly RowKey[] {
    this.#ended[side] = true;
    if (this.#isSpilling) return [];
    const others = this.#waiting[side === 'source' ? 'sink' : 'source'];
    const suspects = [...others.keys()];
    for (const row of others.values()) this.#text -= textIn(row);
    others.clear();
    return suspects;
  }

  /** What waits becomes suspect, so that nothing has to be remembered of it but its key. */
  setAllApart(): readonly RowKey[] {
    const keys = [...this.#waiting.source.keys(), ...this.#waiting.sink.keys()];
    for (const key of keys) this.#apart.add(key);
    this.#waiting.source.clear();
    this.#waiting.sink.clear();
    this.#text = 0;
    return keys;
  }

  /** Suspects among what went to disk, in parts that fit memory. After both scans have ended. */
  async *spilled(): AsyncIterable<readonly RowKey[]> {
    if (!this.#isSpilling) return;
    for (let bucket = 0; bucket < this.#spill.buckets; bucket += 1) {
      const digests = new Map<RowKey, string>();
      for await (const lines of this.#spill.read('source', bucket)) for (const { key, digest } of lines) digests.set(key, digest);
      const suspects: RowKey[] = [];
      for await (const lines of this.#spill.read('sink', bucket)) {
        for (const { key, digest } of lines) {
          if (digests.get(key) !== digest) suspects.push(key);
          digests.delete(key);
        }
      }
      yield [...suspects, ...digests.keys()].filter((key) => !this.#apart.has(key));
    }
  }

  async #begin(): Promise<void> {
    this.#isSpilling = true;
    for (const side of ['source', 'sink'] as const) {
      const rows = [...this.#waiting[side]].map(([key, row]) => ({ key, row }));
      this.#waiting[side].clear();
      await this.#write(side, rows);
    }
    this.#text = 0;
  }

  async #write(side: Side, rows: readonly KeyedRow[]): Promise<void> {
    const lines = rows.map(({ key, row }) => ({ key, digest: rowDigest('', [normalText(this.#schema, row)]) }));
    await this.#spill.append(side, lines);
  }
}

/** Of a row that waits, with what keeping it costs beside its text. */
function textIn(row: Row): number {
  let length = 64;
  for (const value of row) length += (value?.length ?? 0) + 8;
  return length;
}
