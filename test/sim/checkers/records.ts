import { partitionOf } from '#core/hash.ts';
import type { RowKey } from '#core/key.ts';
import type { ChangeRecord, Envelope } from '#core/record.ts';
import type { Sequence } from '#core/sequence.ts';
import type { ReadRecord } from './log-reader.ts';
import type { Scene } from './scene.ts';

/**
 * C3: a change decoded again is the same record. C4: every record is of a committed transaction, and says what it did. C5: the
 * changes of a key stand in its partition in commit order, none left out.
 */
export class RecordsChecker {
  readonly #scene: Scene;
  readonly #first = new Map<string, string>();
  /** Of each key, how many of its changes stand in the log. */
  readonly #reached = new Map<RowKey, Sequence>();

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
    this.#same(record);
    this.#committed(record);
    if (partitionOf(record.key, this.#scene.plan.partitions) !== partition) {
      fail('C5', `a change stands in partition ${partition}, which is not its key's`, record.key);
    }
    if (counts) this.#inOrder(record, offset);
  }

  #same(record: Envelope & ChangeRecord): void {
    const { generation: _generation, holder: _holder, counter: _counter, ...content } = record;
    const name = `${record.key} ${record.sequence}`;
    // A column that is left out has no place in JSON but in an array, where it looks like a null.
    const text = JSON.stringify({
      ...content,
      row: content.row?.map((value) => (value === undefined ? { unchanged: true } : value)) ?? null,
    });
    const first = this.#first.get(name);
    if (first === undefined) this.#first.set(name, text);
    else if (first !== text) this.#scene.fail('C3', `decoded again, ${record.sequence} is another record`, record.key);
  }

  #committed(record: Envelope & ChangeRecord): void {
    const { truth, fail } = this.#scene;
    const moment = truth.at(record.key, record.sequence);
    if (moment === undefined || moment.what === 'truncated') {
      fail('C4', `a record at ${record.sequence} of which no committed transaction knows`, record.key);
      return;
    }
    const withheld = record.withheld !== null;
    if (withheld !== moment.withheld) fail('C4', `the record at ${record.sequence} is withheld, or should be`, record.key);
    if (!withheld && JSON.stringify(record.row) !== JSON.stringify(moment.row)) {
      fail('C4', `the record at ${record.sequence} has other values than the source`, record.key);
    }
  }

  /** What stands there for the first time has to be the key's very next change. */
  #inOrder(record: Envelope & ChangeRecord, offset: number): void {
    const reached = this.#reached.get(record.key);
    if (reached !== undefined && record.sequence <= reached) return;
    const moments = this.#scene.truth.moments(record.key).filter(({ what }) => what !== 'truncated');
    const next = reached === undefined ? moments[0] : moments[moments.findIndex(({ sequence }) => sequence === reached) + 1];
    if (next?.sequence !== record.sequence) {
      this.#scene.fail(
        'C5',
        `offset ${offset}: ${record.sequence} follows ${reached ?? 'nothing'}, and ${next?.sequence ?? 'nothing'} was due`,
        record.key,
      );
    }
    this.#reached.set(record.key, record.sequence);
  }
}
