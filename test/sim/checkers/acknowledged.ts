import { present } from '#core/assert.ts';
import { controlKeys, type CheckpointRow } from '#core/control-rows.ts';
import type { Position } from '#core/position.ts';
import { PIPELINE } from '../daemon.ts';
import type { Moment } from '../truth.ts';
import type { ReadRecord } from './log-reader.ts';
import type { Scene } from './scene.ts';

/**
 * C1: what is acknowledged never passes the end of the longest prefix of transactions whose records are durable, nor the stored
 * checkpoint. C2: it is exactly the end of a transaction, or a position that the source told outside of one.
 */
export class AcknowledgedChecker {
  readonly #scene: Scene;
  readonly #durable = new Set<Moment>();
  /** Truncates that are durable, as `table sequence partition`. */
  readonly #truncates = new Set<string>();
  /** Of the transactions that were looked at. */
  readonly #ends = new Set<bigint>();
  #seen = 0;
  readonly #told = new Set<bigint>();
  /** Transactions before it are durable whole. */
  #prefix = 0;
  #checkpoint = 0n;
  #checkpointText = '';

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  told(position: Position): void {
    this.#told.add(BigInt(position));
  }

  appended(partition: number, { record, counts }: ReadRecord): void {
    if (!counts) return;
    if (record.tag === 'change') {
      const { truth } = this.#scene;
      truth.catchUp();
      const moment = truth.at(record.key, record.sequence);
      if (moment !== undefined) this.#durable.add(moment);
    }
    if (record.tag === 'truncate') this.#truncates.add(`${record.table} ${record.sequence} ${partition}`);
  }

  /** Called at each write of the control store: the greatest position that ever stood there counts. */
  stored(): void {
    const found = this.#scene.controlRows.rows.get(controlKeys.checkpoint(PIPELINE));
    if (found === undefined || found.text === this.#checkpointText) return;
    this.#checkpointText = found.text;
    const { position } = JSON.parse(found.text) as CheckpointRow;
    if (BigInt(position) > this.#checkpoint) this.#checkpoint = BigInt(position);
  }

  acknowledged(position: Position): void {
    const { truth, fail } = this.#scene;
    const at = BigInt(position);
    truth.catchUp();
    this.stored();
    if (at > this.#checkpoint) fail('C1', `${at} was acknowledged, and the checkpoint never was beyond ${this.#checkpoint}`);
    while (this.#prefix < truth.transactions.length && this.#isDurable(this.#prefix)) this.#prefix += 1;
    const first = truth.transactions[this.#prefix];
    if (first !== undefined && at >= first.end)
      fail('C1', `${at} was acknowledged, and the transaction that ends at ${first.end} is not durable`);
    for (; this.#seen < truth.transactions.length; this.#seen += 1) this.#ends.add(present(truth.transactions[this.#seen], 'end').end);
    if (!this.#ends.has(at) && !this.#told.has(at)) fail('C2', `${at} was acknowledged, which is no end of a transaction`);
  }

  #isDurable(index: number): boolean {
    const transaction = this.#scene.truth.transactions[index];
    if (transaction === undefined) return false;
    const { partitions } = this.#scene.plan;
    if (this.#scene.truth.wasBefore(transaction)) return true;
    return (
      transaction.changes.every((change) => this.#durable.has(change)) &&
      transaction.truncates.every(({ table, sequence }) => {
        for (let partition = 0; partition < partitions; partition += 1) {
          if (!this.#truncates.has(`${table} ${sequence} ${partition}`)) return false;
        }
        return true;
      })
    );
  }
}
