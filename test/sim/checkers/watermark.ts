import { partitionOf } from '#core/hash.ts';
import type { RowKey } from '#core/key.ts';
import { compareProgress, type LogProgress } from '#core/log.ts';
import type { TableId } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';
import type { ApplyStatus } from '../../../src/apply/observer.ts';
import { mapIn } from '../../support/memory-log-store.ts';
import type { Life } from '../life.ts';
import { floorAbove, tablesLoading, type LogReaderModel } from './log-reader.ts';
import { isExcused, type Scene } from './scene.ts';

/** What a sink that went back has lost: progress of partitions, which can tell from what is stored, and a sweep. */
export type LostAtSink = {
  readonly partitions: readonly number[];
  /** Those whose stored progress fell: anybody who reads it can tell. */
  readonly progress: readonly number[];
  /** How far each partition had come. */
  readonly reached: ReadonlyMap<number, LogProgress>;
  readonly sweep: boolean;
};

/**
 * A3: whenever a sink reports a watermark, every key has its newest change at or below it, except those that are parked; and the
 * watermark falls only where the sink went back.
 */
export class WatermarkChecker {
  readonly #scene: Scene;
  readonly #reported = new Map<string, Sequence>();
  readonly #asked = new Map<string, () => ApplyStatus>();
  /** Up to where a sink was found complete: nothing can take that away but the sink going back. */
  readonly #complete = new Map<string, Sequence>();
  /** Processes that may not have noticed yet that the sink went back: the partitions that they have not taken again. */
  readonly #unaware = new Map<string, Set<number>>();
  /** Partitions whose progress fell, by the place that does not know it yet. */
  readonly #fell = new Map<string, Set<number>>();
  /** Processes that have not read which sweeps are left since the sink lost one: they ask about once a second. */
  readonly #sweepsUnread = new Set<string>();
  readonly #timesBack = new Map<string, number>();
  /** Partitions of a sink that went back, which nobody has taken since, and how far they had come. */
  readonly #untaken = new Map<string, Map<number, LogProgress | null>>();

  readonly #log: Pick<LogReaderModel, 'partitions'>;

  constructor(scene: Scene, log: Pick<LogReaderModel, 'partitions'>) {
    this.#scene = scene;
    this.#log = log;
  }

  /** `ask` is one function for as long as the process applies in one go. */
  reported(sink: string, life: Life, ask: () => ApplyStatus): void {
    const status = ask();
    const place = `${sink}/${life.id}`;
    const watermark = status.watermark?.sequence ?? null;
    // A process that begins to apply anew knows what was stored, and no more.
    if (this.#asked.get(place) !== ask) this.#reported.delete(place);
    this.#asked.set(place, ask);
    if (this.#unaware.has(place) || this.#sweepsUnread.has(place)) return;
    if (watermark === null) return;
    const before = this.#reported.get(place);
    if (before !== undefined && watermark < before) this.#scene.fail('A3', `${place}: the watermark fell from ${before} to ${watermark}`);
    this.#reported.set(place, watermark);
    if ((this.#complete.get(sink) ?? '') >= watermark) return;
    const unclaimed = this.#unclaimed(sink, status.partitions);
    const missing = this.#missing(sink, watermark, { unclaimed, workers: status.partitions });
    if (missing !== null) {
      const { key, newest } = missing;
      this.#scene.fail('A3', `${sink}: ${watermark} is reported, and the key's newest change at or below it, ${newest}, is not there`, key);
    }
    if (unclaimed.size === 0) this.#complete.set(sink, watermark);
  }

  wentBack(sink: string, lives: readonly Life[], lost: LostAtSink): void {
    const { partitions } = lost;
    this.#complete.delete(sink);
    this.#timesBack.set(sink, this.#backs(sink) + 1);
    const untaken = mapIn(this.#untaken, sink, () => new Map<number, LogProgress | null>());
    for (const partition of partitions) untaken.set(partition, lost.reached.get(partition) ?? null);
    for (const life of lives) {
      const place = `${sink}/${life.id}`;
      this.#reported.delete(place);
      this.#fell.set(place, new Set([...(this.#fell.get(place) ?? []), ...lost.progress]));
      if (partitions.length > 0) this.#unaware.set(place, new Set([...(this.#unaware.get(place) ?? []), ...partitions]));
      if (lost.sweep) this.#sweepsUnread.add(place);
    }
  }

  /** The process took the partition, and with that read its progress anew; what is returned is called as it hears of it. */
  assigned(sink: string, life: Life, partition: number): () => void {
    const told = this.#backs(sink);
    return () => {
      if (told !== this.#backs(sink)) return;
      const place = `${sink}/${life.id}`;
      this.#untaken.get(sink)?.delete(partition);
      const left = this.#unaware.get(place);
      left?.delete(partition);
      if (left?.size === 0) this.#unaware.delete(place);
    };
  }

  /** The process reads every partition's progress, and so learns of those that it does not work on; called as `assigned`. */
  progressRead(sink: string, life: Life): () => void {
    const told = this.#backs(sink);
    const place = `${sink}/${life.id}`;
    const workedOn = this.#workedOn(place);
    return () => {
      if (told !== this.#backs(sink) || workedOn === null) return;
      const left = this.#unaware.get(place);
      for (const partition of this.#fell.get(place) ?? []) {
        if (!workedOn.has(partition) && this.#workedOn(place)?.has(partition) === false) left?.delete(partition);
      }
      if (left?.size === 0) this.#unaware.delete(place);
    };
  }

  /** The sink tells which sweeps it has; what is returned is called as the process hears it. */
  sweepsRead(sink: string, life: Life): () => void {
    const told = this.#backs(sink);
    return () => {
      if (told === this.#backs(sink)) this.#sweepsUnread.delete(`${sink}/${life.id}`);
    };
  }

  /**
   * False until each partition that the sink lost something of was taken again: what is reported until then was true before. One whose
   * holder of then is the holder again, and had lost nothing itself, only comes on.
   */
  hasBeenNoticed(sink: string): boolean {
    const untaken = this.#untaken.get(sink) ?? new Map<number, LogProgress | null>();
    return [...untaken].every(([partition, reached]) => {
      const now = this.#scene.sinks.get(sink)?.progress.get(partition);
      return now !== undefined && (reached === null || compareProgress(now, reached) > 0);
    });
  }

  isUnaware(sink: string, life: Life, partition: number): boolean {
    return this.#unaware.get(`${sink}/${life.id}`)?.has(partition) === true;
  }

  /** Partitions that a process says it works on; null before it has reported anything. */
  #workedOn(place: string): ReadonlySet<number> | null {
    const ask = this.#asked.get(place);
    return ask === undefined ? null : new Set(ask().partitions.map(({ partition }) => partition));
  }

  /** A load that was not over before a truncate brings none of the rows from before it. */
  #isTruncatedAbove(
    sink: string,
    of: { readonly table: TableId; readonly key: RowKey; readonly sequence: Sequence },
    workers: ApplyStatus['partitions'],
  ): boolean {
    const partition = partitionOf(of.key, this.#log.partitions.length);
    const stored = this.#scene.sinks.get(sink)?.progress.get(partition)?.offset ?? 0;
    const read = workers.find((worker) => worker.partition === partition)?.offset ?? 0;
    return floorAbove(this.#log.partitions[partition] ?? [], of, Math.max(stored, read)) !== null;
  }

  /** Tables that are being loaded at the sink, as it knows itself or as its worker has read, or were in part. */
  #unclaimed(sink: string, workers: ApplyStatus['partitions']): ReadonlySet<TableId> {
    const { sinks, database } = this.#scene;
    const stored = [...(sinks.get(sink)?.progress.values() ?? [])].flatMap(({ openLoads }) => openLoads.map(({ table }) => table));
    const read = workers.flatMap(({ partition, offset }) => tablesLoading(this.#log.partitions[partition]?.[(offset ?? 0) - 1], sink));
    const halves = database.tables.map(({ schema }) => schema.table).filter((table) => this.#scene.isHalfLoaded(table, sink));
    return new Set([...stored, ...read, ...halves]);
  }

  #backs(sink: string): number {
    return this.#timesBack.get(sink) ?? 0;
  }

  /** Whether the sink holds everything up to there, whatever is reported. */
  isComplete(sink: string, upTo: Sequence): boolean {
    return this.#missing(sink, upTo, { unclaimed: this.#unclaimed(sink, []), workers: [] }) === null;
  }

  /** A key without its newest change at or below the watermark, as it stands in the sink itself. */
  #missing(
    sink: string,
    watermark: Sequence,
    of: { readonly unclaimed: ReadonlySet<TableId>; readonly workers: ApplyStatus['partitions'] },
  ): { readonly key: RowKey; readonly newest: Sequence } | null {
    const { truth, sinks } = this.#scene;
    truth.catchUp();
    for (const [key, { table, moments }] of truth.keys) {
      if (of.unclaimed.has(table)) continue;
      const newest = moments.findLast((moment) => moment.sequence <= watermark);
      if (newest === undefined) continue;
      const row = sinks.get(sink)?.stored(table, key);
      if ((row?.sequence ?? '') >= newest.sequence) continue;
      if (newest.what === 'truncated' && row === undefined) continue;
      // Of what was gone before the slot began a sink never hears.
      if (newest.values === null && row === undefined && truth.isBefore(newest.sequence)) continue;
      if (isExcused(this.#scene, sink, key, watermark)) continue;
      if ((row?.values ?? null) === null && this.#isTruncatedAbove(sink, { table, key, sequence: newest.sequence }, of.workers)) continue;
      return { key, newest: newest.sequence };
    }
    return null;
  }
}
