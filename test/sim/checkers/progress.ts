import type { LogProgress } from '#core/log.ts';
import type { SinkProgress } from '#core/sink.ts';
import { floorAbove, isPassedOver, loadName, loadsAt, type LogReaderModel } from './log-reader.ts';
import { isExcused, type Scene } from './scene.ts';

/**
 * A4: progress stands only behind what took effect, was proved stale, or is parked. With it C6 and C7 as a sink sees them: the
 * pair stored with an offset is the one that the rules of the log give for it.
 */
export class ProgressChecker {
  readonly #scene: Scene;
  readonly #log: LogReaderModel;
  readonly #checked = new Map<string, number>();

  constructor(scene: Scene, log: LogReaderModel) {
    this.#scene = scene;
    this.#log = log;
  }

  /** A sink stores this as a partition's progress. */
  stored(sink: string, partition: number, progress: SinkProgress): void {
    const { fail, sinks } = this.#scene;
    this.#log.catchUp();
    const records = this.#log.partitions[partition] ?? [];
    const place = `${sink}/${partition}`;
    const from = Math.min(this.#checked.get(place) ?? 0, progress.offset);
    if (progress.offset > records.length) {
      fail('A4', `${place}: progress ${progress.offset} is beyond the end of the log, ${records.length}`);
      return;
    }
    for (let offset = from; offset < progress.offset; offset += 1) {
      const read = records[offset];
      if (read?.counts !== true || read.record.tag !== 'change' || isPassedOver(read, sink)) continue;
      const { key, sequence, table } = read.record;
      const row = sinks.get(sink)?.stored(table, key);
      if ((row?.sequence ?? '') >= sequence || isExcused(this.#scene, sink, key)) continue;
      if (floorAbove(records, { table, sequence }, progress.offset) !== null) continue;
      fail('A4', `${place}: progress ${progress.offset} stands behind offset ${offset}, whose change ${sequence} took no effect`, key);
    }
    this.#checked.set(place, progress.offset);
    this.#samePair(place, progress, records[progress.offset - 1]?.pair ?? null);
    this.#sameLoads(place, progress, loadsAt(records[progress.offset - 1], sink));
  }

  /** The consumer's own progress in the log, which may forget what stands before it. */
  committed(sink: string, partition: number, progress: LogProgress): void {
    const stored = this.#scene.sinks.get(sink)?.progress.get(partition);
    if (stored !== undefined && progress.offset <= stored.offset) return;
    // After a sink went back the log may be ahead of it for a while.
    if (this.#scene.plan.faults.some(({ tag }) => tag === 'sink_back' || tag === 'sink_progress_lost')) return;
    this.#scene.fail('A4', `${sink}/${partition}: ${progress.offset} was committed, and the sink has ${stored?.offset ?? 'none'}`);
  }

  wentBack(sink: string): void {
    for (const partition of this.#log.partitions.keys()) this.#checked.set(`${sink}/${partition}`, 0);
  }

  /** What a sink takes for loaded decides what its watermark claims. */
  #sameLoads(place: string, { offset, openLoads }: SinkProgress, expected: readonly string[]): void {
    const [known, due] = [openLoads.map(loadName).toSorted().join(), expected.toSorted().join()];
    if (known !== due) this.#scene.fail('A3', `${place}: at offset ${offset} loads are open of [${known}], and in the log of [${due}]`);
  }

  #samePair(place: string, progress: LogProgress, expected: LogProgress['pair']): void {
    const { pair } = progress;
    const same =
      pair === null
        ? expected === null || progress.offset === 0
        : pair.generation === expected?.generation && pair.counter === expected.counter;
    if (same) return;
    const words = (of: LogProgress['pair']): string => (of === null ? 'none' : `(${of.generation}, ${of.counter})`);
    this.#scene.fail(
      'C6',
      `${place}: at offset ${progress.offset} the pair is ${words(pair)}, and the log's rules give ${words(expected)}`,
    );
  }
}
