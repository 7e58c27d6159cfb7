import { partitionOf } from '#core/hash.ts';
import type { RowKey } from '#core/key.ts';
import type { ChangeRecord, Envelope } from '#core/record.ts';
import type { TableId } from '#core/schema.ts';
import { EPOCH_FIRST } from '#core/position.ts';
import { watermarkSequence, type Sequence } from '#core/sequence.ts';
import type { Row } from '#core/value.ts';
import { RECORD_BYTES_MAX } from '../plan.ts';
import { isUnknown, type Moment } from '../truth.ts';
import type { LogReaderModel, ReadRecord } from './log-reader.ts';
import type { Scene } from './scene.ts';

/**
 * C3: a change decoded again is the same record. C4: every record is of a committed transaction, and says what it did. C5: the
 * changes of a key stand in its partition in commit order, none left out. C6: records that do not count have no effect.
 *
 * Idea 5: a row that was read, for a load or as a repair, is the source's at the mark that its sequence names, and stands behind every
 * change of its key up to the mark that is named as its transaction, and before any later one. So does a repair that deletes.
 */
export class RecordsChecker {
  readonly #scene: Scene;
  /** The record with which each change came into the log first. */
  readonly #first = new Map<Moment, Envelope & ChangeRecord>();
  /** Of each key, how many of its changes stand in the log. */
  readonly #reached = new Map<RowKey, number>();
  /** Rows that were read, by key and sequence, of which a record counts. */
  readonly #reads = new Map<RowKey, Set<Sequence>>();
  readonly #log: LogReaderModel;

  constructor(scene: Scene, log: LogReaderModel) {
    this.#scene = scene;
    this.#log = log;
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
    if (partitionOf(record.key, this.#scene.plan.partitions) !== partition) {
      fail('C5', `a change stands in partition ${partition}, which is not its key's`, record.key);
    }
    if (record.op === 'read' || record.op === 'repair') {
      this.#readRow(record);
      if (counts) this.#inPlace(record, offset);
      return;
    }
    const moment = truth.at(record.key, record.sequence);
    if (moment === undefined || moment.what === 'truncated') {
      fail('C4', `a record at ${record.sequence} of which no committed transaction knows`, record.key);
      return;
    }
    this.#same(moment, record);
    this.#committed(moment, record);
    if (counts) this.#inOrder(moment, record, offset);
  }

  /** C6: what a sink shows of a key stands in a record that counts, and not only in one of a superseded generation. */
  applied(sink: string, table: TableId, key: RowKey): void {
    const { truth, sinks, fail } = this.#scene;
    const sequence = sinks.get(sink)?.stored(table, key)?.sequence ?? null;
    if (sequence === null) return;
    const moment = truth.at(key, sequence);
    const counts =
      moment === undefined
        ? !truth.isMark(sequence) || this.#reads.get(key)?.has(sequence) === true
        : moment.what === 'truncated' || (moment.nth < this.#due(key) && !truth.isBefore(sequence));
    if (!counts) fail('C6', `${sink}: the change at ${sequence} took effect, and no record of it counts`, key);
  }

  #readRow(record: Envelope & ChangeRecord): void {
    const { truth, fail } = this.#scene;
    const { key, sequence } = record;
    const moment = truth.newest(key, sequence);
    if (!truth.isMark(sequence)) fail('C4', `a row that was read stands at ${sequence}, which is no mark`, key);
    else if (isDeletion(record)) {
      if ((moment?.values ?? null) !== null) fail('C4', `a repair at ${sequence} deletes a row that the source held then`, key);
    } else if (moment === undefined || moment.values === null)
      fail('C4', `a row was read at ${sequence}, and the source held none then`, key);
    else if (isWithheldRead(moment) !== (record.withheld !== null))
      fail('C4', `the row read at ${sequence} is withheld, or should be`, key);
    else if (record.row !== null) {
      const columns = this.#log.schema(record.schemaVersion)?.columns ?? [];
      const values = columns.map(({ name }) => moment.values?.get(name) ?? null);
      if (!isSameRow(record.row, values)) fail('C4', `the row read at ${sequence} has other values than the source had then`, key);
    }
  }

  #inPlace({ key, sequence, transactionId }: Envelope & ChangeRecord, offset: number): void {
    const { truth, fail } = this.#scene;
    const reads = this.#reads.get(key) ?? new Set<Sequence>();
    this.#reads.set(key, reads.add(sequence));
    const high = truth.markOf(transactionId);
    const end = high === undefined ? null : watermarkSequence(EPOCH_FIRST, high);
    if (end === null || sequence > end) {
      fail('C4', `offset ${offset}: a row that was read stands behind no mark at or above ${sequence}`, key);
      return;
    }
    const [reached, due] = [this.#due(key), truth.changesUpTo(key, end)];
    if (reached === due) return;
    fail('C5', `offset ${offset}: a row that was read stands behind ${reached} changes of its key, and its place is behind ${due}`, key);
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
    const reached = this.#due(record.key);
    if (nth < reached) return;
    if (nth !== reached) {
      const due = this.#scene.truth.change(record.key, reached)?.sequence ?? 'nothing';
      this.#scene.fail('C5', `offset ${offset}: ${record.sequence} is the key's change ${nth}, and ${due} was due`, record.key);
    }
    this.#reached.set(record.key, nth + 1);
  }

  /** Which of the key's changes comes next into the log. */
  #due(key: RowKey): number {
    return this.#reached.get(key) ?? this.#scene.truth.changesUpTo(key, null);
  }
}

function isDeletion({ op, row, withheld }: ChangeRecord): boolean {
  return op === 'repair' && row === null && withheld === null;
}

function isWithheldRead({ what, values }: Moment): boolean {
  return (
    what === 'unreadable' || [...(values?.values() ?? [])].some((value) => (value?.length ?? 0) > RECORD_BYTES_MAX || isUnknown(value))
  );
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
