import { partitionOf } from '#core/hash.ts';
import type { RowKey } from '#core/key.ts';
import type { ChangeRecord, Envelope } from '#core/record.ts';
import type { TableId } from '#core/schema.ts';
import type { Row } from '#core/value.ts';
import type { Moment } from '../truth.ts';
import type { ReadRecord } from './log-reader.ts';
import type { Scene } from './scene.ts';

/**
 * C3: a change decoded again is the same record. C4: every record is of a committed transaction, and says what it did. C5: the
 * changes of a key stand in its partition in commit order, none left out. C6: records that do not count have no effect.
 */
export class RecordsChecker {
  readonly #scene: Scene;
  /** The record with which each change came into the log first. */
  readonly #first = new Map<Moment, Envelope & ChangeRecord>();
  /** Of each key, how many of its changes stand in the log. */
  readonly #reached = new Map<RowKey, number>();

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  appended(partition: number, { record, counts, offset }: ReadRecord): void {
    const { truth, fail } = this.#scene;
    if (record.tag === 'truncate') {
      truth.catchUp();
      if (!truth.isTruncate(record.table, record.sequence)) fail('C4', `a truncate at ${record.sequence} that no transaction made`);
      return;
    }
    if (record.tag !== 'change') return;
    truth.catchUp();
    const moment = truth.at(record.key, record.sequence);
    if (moment === undefined || moment.what === 'truncated') {
      fail('C4', `a record at ${record.sequence} of which no committed transaction knows`, record.key);
      return;
    }
    this.#same(moment, record);
    this.#committed(moment, record);
    if (partitionOf(record.key, this.#scene.plan.partitions) !== partition) {
      fail('C5', `a change stands in partition ${partition}, which is not its key's`, record.key);
    }
    if (counts) this.#inOrder(moment, record, offset);
  }

  /** C6: what a sink shows of a key stands in a record that counts, and not only in one of a superseded generation. */
  applied(sink: string, table: TableId, key: RowKey): void {
    const { truth, sinks, fail } = this.#scene;
    const sequence = sinks.get(sink)?.stored(table, key)?.sequence ?? null;
    const moment = sequence === null ? undefined : truth.at(key, sequence);
    if (moment === undefined || moment.what === 'truncated' || moment.nth < (this.#reached.get(key) ?? 0)) return;
    fail('C6', `${sink}: the change at ${moment.sequence} took effect, and no record of it counts`, key);
  }

  #same(moment: Moment, record: Envelope & ChangeRecord): void {
    const first = this.#first.get(moment);
    if (first === undefined) this.#first.set(moment, record);
    else if (contentOf(first) !== contentOf(record))
      this.#scene.fail('C3', `decoded again, ${record.sequence} is another record`, record.key);
  }

  #committed(moment: Moment, record: Envelope & ChangeRecord): void {
    const { fail } = this.#scene;
    const withheld = record.withheld !== null;
    if (withheld !== moment.withheld) fail('C4', `the record at ${record.sequence} is withheld, or should be`, record.key);
    if (!withheld && !isSameRow(record.row, moment.row)) {
      fail('C4', `the record at ${record.sequence} has other values than the source`, record.key);
    }
  }

  /** What stands there for the first time has to be the key's very next change. */
  #inOrder({ nth }: Moment, record: Envelope & ChangeRecord, offset: number): void {
    const reached = this.#reached.get(record.key) ?? 0;
    if (nth < reached) return;
    if (nth !== reached) {
      const due = this.#scene.truth.change(record.key, reached)?.sequence ?? 'nothing';
      this.#scene.fail('C5', `offset ${offset}: ${record.sequence} is the key's change ${nth}, and ${due} was due`, record.key);
    }
    this.#reached.set(record.key, nth + 1);
  }
}

/**
 * Everything but what says who wrote it, which is counted in the size that a reason may name. A column that is left out has no
 * place in JSON but in an array, where it looks like a null.
 */
function contentOf(record: Envelope & ChangeRecord): string {
  const { generation: _generation, holder: _holder, counter: _counter, ...content } = record;
  return JSON.stringify({
    ...content,
    withheld: content.withheld?.split(':')[0] ?? null,
    row: content.row?.map((value) => (value === undefined ? { unchanged: true } : value)) ?? null,
  });
}

/** A column that is left out is not a null. */
function isSameRow(a: Row | null, b: Row | null): boolean {
  if (a === null || b === null) return a === b;
  return a.length === b.length && a.every((value, index) => value === b[index]);
}
