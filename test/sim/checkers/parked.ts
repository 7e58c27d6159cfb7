import { parseRowKey, type RowKey } from '#core/key.ts';
import { partitionOf } from '#core/hash.ts';
import type { TableId } from '#core/schema.ts';
import { SEQUENCE_ZERO, type Sequence } from '#core/sequence.ts';
import { floorAbove, isPassedOver, type LogReaderModel } from './log-reader.ts';
import type { Release } from '../ports.ts';
import type { Scene } from './scene.ts';

/**
 * A6: only a key with a refused value is parked, and it is released only once its newest change before the progress took effect
 * or lies below a floor.
 */
export class ParkedChecker {
  readonly #scene: Scene;
  readonly #log: LogReaderModel;

  constructor(scene: Scene, log: LogReaderModel) {
    this.#scene = scene;
    this.#log = log;
  }

  /** Of a log that lost its tail nothing is asked, and what a truncate still owes is owed all the same. */
  released(sink: string, releases: readonly Release[], logLost: boolean): void {
    const { sinks, plan, fail } = this.#scene;
    if (!logLost) this.#log.catchUp();
    for (const { key, sequence } of releases) {
      const partition = partitionOf(key, plan.partitions);
      const records = this.#log.partitions[partition] ?? [];
      const progress = sinks.get(sink)?.progress.get(partition)?.offset ?? 0;
      const { table } = parseRowKey(key);
      const stored = sinks.get(sink)?.stored(table, key)?.sequence ?? SEQUENCE_ZERO;
      // By a truncate that was read, whether the progress has passed it or not.
      const above = stored < sequence ? this.#truncateAbove(records, { table, key, sequence }, logLost) : null;
      if (above !== null) owe(this.#scene.owed, { sink, key, sequence: above });
      if (logLost) continue;
      for (const read of records) {
        const { offset, record, counts } = read;
        if (offset >= progress) break;
        if (!counts || record.tag !== 'change' || record.key !== key || stored >= record.sequence) continue;
        if (isPassedOver(read, sink)) continue;
        const floor = floorAbove(records, { table, sequence: record.sequence });
        if (floor !== null) {
          owe(this.#scene.owed, { sink, key, sequence: floor });
          continue;
        }
        fail('A6', `${sink}: the key is released, and its change ${record.sequence} before the progress took no effect`, key);
        break;
      }
    }
  }

  #truncateAbove(
    records: Parameters<typeof floorAbove>[0],
    change: { readonly table: TableId; readonly key: RowKey; readonly sequence: Sequence },
    logLost: boolean,
  ): Sequence | null {
    if (!logLost) return floorAbove(records, change);
    // What is read of it now was not followed: the source tells.
    this.#scene.truth.catchUp();
    const truncated = this.#scene.truth
      .moments(change.key)
      .findLast(({ what, sequence }) => what === 'truncated' && sequence > change.sequence);
    return truncated?.sequence ?? null;
  }

  /** Whether the key's history gives a reason for it to be parked. */
  hasReason(key: RowKey): boolean {
    const moments = this.#scene.truth.moments(key);
    for (let at = moments.length - 1; at >= 0; at -= 1) {
      const moment = moments[at];
      if (moment === undefined || moment.refused || moment.withheld) return moment !== undefined;
      // A partial image says nothing of what stands before it; a key that was given by an update has no base of its own.
      if (moment.partial) {
        const before = moments[at - 1];
        if (before === undefined || before.values === null) return true;
        continue;
      }
      return false;
    }
    return false;
  }
}

function owe(
  map: Map<string, Map<RowKey, Sequence>>,
  of: { readonly sink: string; readonly key: RowKey; readonly sequence: Sequence },
): void {
  const keys = map.get(of.sink) ?? new Map<RowKey, Sequence>();
  if ((keys.get(of.key) ?? '') < of.sequence) keys.set(of.key, of.sequence);
  map.set(of.sink, keys);
}
