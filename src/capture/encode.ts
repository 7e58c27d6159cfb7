import { unreachable } from '#core/assert.ts';
import type { Codec } from '#core/codec.ts';
import { CausewayError } from '#core/errors.ts';
import type { SourceBegin, SourceChange, SourceMessage } from '#core/event.ts';
import { partitionOf } from '#core/hash.ts';
import type { RowKey } from '#core/key.ts';
import type { Epoch, FencingToken, Position } from '#core/position.ts';
import type { ChangeOp, ChangeRecord, ControlRecord, LogRecord } from '#core/record.ts';
import type { RowRead } from '#core/row-reader.ts';
import type { SchemaVersion, TableId, TableSchema } from '#core/schema.ts';
import { commitPrefix, decodeSequence, sequenceIn, SUB_DELETE_HALF, SUB_SNAPSHOT, SUB_WHOLE, type Sequence } from '#core/sequence.ts';
import { isPartial, type Row } from '#core/value.ts';
import { encodeChange, withheldText } from './encode-change.ts';
import { type EncodedBatch, emptyBatch } from './encoded-batch.ts';

export type EncoderInput = {
  readonly codec: Codec;
  readonly generation: FencingToken;
  /** Short form of the holder's name. */
  readonly holder: string;
  readonly epoch: Epoch;
  readonly partitions: number;
  readonly recordBytesMax: number;
  /** False for a table that is stopped or not captured: its changes are dropped. */
  readonly captures: (table: TableId) => boolean;
};

/**
 * Makes log records of what the source's stream shows: sequence, partition, dense counter, bytes. Synchronous, because every
 * change of the source passes through it. Whoever calls it hands the records to the log before it is called again, so that
 * counters are dense in the log too.
 */
export class Encoder {
  readonly #input: EncoderInput;
  readonly #counters: number[];
  readonly #announced = new Set<SchemaVersion>();
  /** What to do with changes of a schema version, as long as `captures` says the same. */
  readonly #gates = new Map<SchemaVersion, 'publish' | 'drop'>();
  #records = 0;
  #transaction: SourceBegin | null = null;
  #prefix = '';
  #changes = 0;
  /** Transactions up to this commit stand in the log. */
  #publishedCommit = -1n;
  /** The transaction being read is one of them. */
  #isPublished = false;

  constructor(input: EncoderInput) {
    this.#input = input;
    this.#counters = new Array<number>(input.partitions).fill(0);
  }

  /** Records encoded since the generation began. */
  get records(): number {
    return this.#records;
  }

  /** The last counter given out in each partition, as a copy. */
  counters(): readonly number[] {
    return this.#counters.slice();
  }

  /** The stream broke off: what was half received comes again from its `begin`. */
  disconnected(): void {
    this.#transaction = null;
    this.#changes = 0;
  }

  /**
   * A stream begins, and the checkpoint tells that everything up to `sequence` stands in the log. A slot can begin before that, because
   * a server that crashed forgets what it was told; and it can leave that stretch again in the middle, because the checkpoint
   * is acknowledged. An older change that came without those behind it would be the wrong base for a partial one.
   */
  connected(sequence: Sequence | null): void {
    const published = sequence === null ? null : decodeSequence(sequence);
    this.#publishedCommit = published?.epoch === this.#input.epoch ? published.commit : -1n;
  }

  /** The answer of `captures` may have changed. */
  tablesChanged(): void {
    this.#gates.clear();
  }

  /** One record in every partition. `of` may differ by partition. */
  control(of: (partition: number) => ControlRecord): EncodedBatch {
    const batch = emptyBatch();
    this.#broadcast(of, batch);
    return batch;
  }

  /** The `schema` record of each version that this generation has not announced yet, in every partition. */
  announce(schemas: readonly TableSchema[]): EncodedBatch {
    const batch = emptyBatch();
    for (const schema of schemas) this.#announce(schema, batch);
    return batch;
  }

  encode(messages: readonly SourceMessage[]): EncodedBatch {
    const batch = emptyBatch();
    for (const message of messages) {
      switch (message.tag) {
        case 'change':
          this.#change(message, batch);
          break;
        case 'begin':
          this.#begin(message);
          break;
        case 'commit':
          this.#commit(message.position, batch);
          break;
        case 'schema':
          if (this.#input.captures(message.schema.table)) this.#announce(message.schema, batch);
          break;
        case 'truncate':
          this.#truncate(message.tables, message.change, batch);
          break;
        case 'keepalive':
          // Inside a transaction a position says nothing about what was received.
          if (this.#transaction === null) batch.marks.push({ tag: 'keepalive', position: message.position });
          break;
        case 'message':
        case 'stopped':
          break;
        default:
          unreachable(message);
      }
    }
    return batch;
  }

  /**
   * Rows of a chunk as they were at `commit`: below every change of that commit, above those of any earlier one. They are published where
   * the stream stands, between two transactions, whose time and id they carry. Of a table that is not captured nothing is. One without a
   * row and without a reason for that is a key that the source does not hold.
   */
  chunk(
    of: {
      readonly schema: TableSchema;
      readonly op: 'read' | 'repair';
      readonly rows: readonly RowRead[];
      readonly commit: bigint;
      readonly sink: string | null;
    },
    at: SourceBegin,
  ): EncodedBatch {
    const batch = emptyBatch();
    const { schema, op, sink } = of;
    if (this.#transaction !== null) throw invalid('a chunk was placed inside of a transaction');
    if (!this.#input.captures(schema.table)) return batch;
    this.#announce(schema, batch);
    this.#prefix = commitPrefix(this.#input.epoch, of.commit);
    for (const { key, row, withheld } of of.rows) {
      const reason = withheld === null ? null : withheldText('value_unreadable', withheld);
      this.#publish({ transaction: at, schema, change: 0n, key, op, row, withheld: reason, sink }, batch, SUB_SNAPSHOT);
    }
    return batch;
  }

  #begin(begin: SourceBegin): void {
    if (this.#transaction !== null) throw invalid('a transaction began inside another');
    this.#transaction = begin;
    this.#prefix = commitPrefix(this.#input.epoch, begin.commit);
    this.#isPublished = begin.commit <= this.#publishedCommit;
    this.#changes = 0;
  }

  #commit(position: Position, batch: EncodedBatch): void {
    const { commit, committedAt } = this.#open();
    batch.marks.push({ tag: 'commit', position, commit, committedAt, records: this.#records });
    if (this.#changes > batch.largestTransaction) batch.largestTransaction = this.#changes;
    this.#transaction = null;
  }

  #open(): SourceBegin {
    if (this.#transaction === null) throw invalid('a change or commit came outside of a transaction');
    return this.#transaction;
  }

  #change(message: SourceChange, batch: EncodedBatch): void {
    const transaction = this.#open();
    if (this.#isPublished) return;
    const { schema } = message;
    const { counts } = batch;
    if (this.#gate(schema) === 'drop') {
      counts.dropped += 1;
      return;
    }
    this.#changes += 1;
    switch (message.op) {
      case 'insert':
        counts.insert += 1;
        this.#publish(
          { transaction, schema, change: message.change, key: message.key, op: 'insert', row: message.row, withheld: null },
          batch,
        );
        break;
      case 'update':
        counts.update += 1;
        // Each half goes to the partition of its own key, so each is ordered among that key's changes.
        if (message.oldKey !== null) {
          const half = {
            transaction,
            schema,
            change: message.change,
            key: message.oldKey,
            op: 'delete',
            row: null,
            withheld: null,
          } as const;
          this.#publish(half, batch, SUB_DELETE_HALF);
          if (isPartial(message.row)) {
            // What is absent stands under the old key. Put on whatever a sink holds under the new one, it would be another row's.
            const withheld = withheldText('partial_without_base', 'the row was given another key and leaves a large column out');
            this.#publish({ transaction, schema, change: message.change, key: message.key, op: 'update', row: null, withheld }, batch);
            break;
          }
        }
        this.#publish(
          { transaction, schema, change: message.change, key: message.key, op: 'update', row: message.row, withheld: null },
          batch,
        );
        break;
      case 'delete':
        counts.delete += 1;
        this.#publish({ transaction, schema, change: message.change, key: message.key, op: 'delete', row: null, withheld: null }, batch);
        break;
      case 'unreadable': {
        counts.update += 1;
        const withheld = withheldText('value_unreadable', message.reason);
        this.#publish({ transaction, schema, change: message.change, key: message.key, op: 'update', row: null, withheld }, batch);
        break;
      }
      default:
        unreachable(message);
    }
  }

  #gate(schema: TableSchema): 'publish' | 'drop' {
    const known = this.#gates.get(schema.version);
    if (known !== undefined) return known;
    const gate = this.#input.captures(schema.table) ? 'publish' : 'drop';
    if (gate === 'publish' && !this.#announced.has(schema.version)) {
      throw invalid(`a change of ${schema.table} came before the schema of its version`);
    }
    this.#gates.set(schema.version, gate);
    return gate;
  }

  #publish(
    of: {
      readonly transaction: SourceBegin;
      readonly schema: TableSchema;
      readonly change: bigint;
      readonly key: RowKey;
      readonly op: ChangeOp;
      readonly row: Row | null;
      readonly withheld: string | null;
      readonly sink?: string | null;
    },
    batch: EncodedBatch,
    sub: 0 | 1 = SUB_WHOLE,
  ): void {
    const { codec, generation, holder, partitions, recordBytesMax } = this.#input;
    const { transaction, schema, key } = of;
    const partition = partitionOf(key, partitions);
    const counter = this.#next(partition);
    const record: LogRecord & ChangeRecord = {
      generation,
      holder,
      counter,
      tag: 'change',
      table: schema.table,
      schemaVersion: schema.version,
      key,
      sequence: sequenceIn(this.#prefix, of.change, sub),
      op: of.op,
      row: of.row,
      withheld: of.withheld,
      committedAt: transaction.committedAt,
      transactionId: transaction.transactionId,
      origin: transaction.origin,
      trace: null,
      sink: of.sink ?? null,
    };
    const { value, withheld } = encodeChange({ codec, recordBytesMax }, record, schema);
    if (withheld) batch.counts.withheld += 1;
    batch.records.push({ partition, key, value });
    batch.bytes += value.length + key.length;
  }

  #truncate(tables: readonly TableSchema[], change: bigint, batch: EncodedBatch): void {
    const { committedAt } = this.#open();
    if (this.#isPublished) return;
    const sequence = sequenceIn(this.#prefix, change, SUB_WHOLE);
    for (const { table } of tables) {
      if (!this.#input.captures(table)) {
        batch.counts.dropped += 1;
        continue;
      }
      batch.counts.truncate += 1;
      this.#changes += 1;
      this.#broadcast(() => ({ tag: 'truncate', table, sequence, committedAt }), batch);
    }
  }

  #announce(schema: TableSchema, batch: EncodedBatch): void {
    if (this.#announced.has(schema.version)) return;
    this.#announced.add(schema.version);
    this.#broadcast(() => ({ tag: 'schema', schema }), batch);
  }

  #broadcast(of: (partition: number) => ControlRecord, batch: EncodedBatch): void {
    const { generation, holder, partitions, codec } = this.#input;
    for (let partition = 0; partition < partitions; partition += 1) {
      const record: LogRecord = { generation, holder, counter: this.#next(partition), ...of(partition) };
      const value = codec.encode(record, null);
      batch.records.push({ partition, key: null, value });
      batch.bytes += value.length;
    }
  }

  #next(partition: number): number {
    const counter = (this.#counters[partition] ?? 0) + 1;
    this.#counters[partition] = counter;
    this.#records += 1;
    return counter;
  }
}

function invalid(message: string): CausewayError {
  return new CausewayError('source_stream_invalid', message);
}
