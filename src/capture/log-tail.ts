import type { Codec } from '#core/codec.ts';
import type { CheckpointRow } from '#core/control-rows.ts';
import { CausewayError, codeOf } from '#core/errors.ts';
import type { Log, LogEnds, StoredRecord } from '#core/log.ts';
import { offsetOf, type Epoch, type FencingToken } from '#core/position.ts';
import type { LogRecord } from '#core/record.ts';
import type { SchemaVersion, TableSchema } from '#core/schema.ts';
import { decodeSequence, type Sequence } from '#core/sequence.ts';
import type { OpenLoad } from '#core/sink.ts';

export type LogTail = {
  /** The highest generation and epoch in what was read; 0 where nothing was. They need not stand in the last record. */
  readonly generation: number;
  readonly epoch: number;
  readonly records: number;
  /** Loads that it shows as opened, in some partition at least, and not as ended there. */
  readonly openLoads: readonly OpenLoad[];
  /** Up to where at least it was read. */
  readonly ends: readonly LogEnds[];
};

export type LogTailInput = {
  readonly log: Log;
  readonly codec: Codec;
  /** Null: all of the log is read. */
  readonly checkpoint: CheckpointRow | null;
  /** Versions that the control store knows. */
  readonly schemas: readonly TableSchema[];
  readonly own: { readonly generation: FencingToken; readonly epoch: Epoch | null };
};

/** True where no record was ever written: a partition whose records were all freed does not count as one. */
export function isEmptyLog(ends: readonly LogEnds[]): boolean {
  return ends.every(({ end }) => end === 0);
}

/**
 * Reads each partition from the checkpoint's offset to its end before anything is published. Errors: `log_truncated` where it
 * ends before what was acknowledged, `generation_behind` where somebody published under a generation that is not below ours.
 */
export async function readLogTail(input: LogTailInput, signal: AbortSignal): Promise<LogTail> {
  const { log, checkpoint, own } = input;
  const ends = await log.ends(signal);
  if (checkpoint !== null) assertHoldsCheckpoint(ends, checkpoint);
  const tail = { generation: 0, epoch: 0, records: 0, ends };
  const open = new Map<string, OpenLoad>();
  const schemas = new Map<SchemaVersion, TableSchema>(input.schemas.map((schema) => [schema.version, schema]));
  for (const [partition, { start, end }] of ends.entries()) {
    const opened = new Map<string, OpenLoad>();
    const from = Math.max(start, checkpoint?.partitions[partition]?.offset ?? 0);
    for await (const stored of recordsOf(log, { partition, from, end }, signal)) {
      tail.records += 1;
      const record = decodeLeniently(input, stored.value, schemas);
      if (record === null) continue;
      if (record.tag === 'load-open') opened.set(JSON.stringify([record.table, record.sink]), { table: record.table, sink: record.sink });
      if (record.tag === 'load-close') opened.delete(JSON.stringify([record.table, record.sink]));
      if (record.tag === 'schema') schemas.set(record.schema.version, record.schema);
      // The record at the checkpoint's own offset may be of a generation that is ours only in its number.
      tail.generation = Math.max(tail.generation, record.generation);
      tail.epoch = Math.max(tail.epoch, epochOfRecord(record));
    }
    for (const [key, load] of opened) open.set(key, load);
  }
  if (tail.generation >= own.generation) throw behind('generation', tail.generation, own.generation);
  if (own.epoch !== null && tail.epoch > own.epoch) throw behind('epoch', tail.epoch, own.epoch);
  return { ...tail, openLoads: [...open.values()] };
}

/**
 * Apply goes on meanwhile, and what every sink has behind it may be freed before it is read here: then reading goes on where the
 * log begins by now. What is gone was looked at by the sinks, which stop at two holders of one generation.
 */
async function* recordsOf(
  log: Log,
  place: { readonly partition: number; readonly from: number; readonly end: number },
  signal: AbortSignal,
): AsyncIterable<StoredRecord> {
  const { partition, end } = place;
  let { from } = place;
  while (from < end) {
    try {
      for await (const { records } of log.read(partition, offsetOf(from), signal)) {
        for (const stored of records) {
          from = stored.offset + 1;
          yield stored;
        }
      }
      return;
    } catch (error) {
      const start = codeOf(error) === 'log_offset_gone' ? (await log.ends(signal))[partition]?.start : undefined;
      if (start === undefined || start <= from) throw error;
      from = start;
    }
  }
}

/**
 * A partition that was emptied behind its readers ends at the checkpoint's offset plus one and has lost nothing; one that ends
 * at that offset or before it was truncated or made again.
 */
function assertHoldsCheckpoint(ends: readonly LogEnds[], checkpoint: CheckpointRow): void {
  for (const [partition, acknowledged] of checkpoint.partitions.entries()) {
    if (acknowledged === null) continue;
    const end = ends[partition]?.end ?? 0;
    if (end <= acknowledged.offset) {
      throw new CausewayError(
        'log_truncated',
        `partition ${partition} of the log ends at offset ${end}; offset ${acknowledged.offset} had been acknowledged`,
      );
    }
  }
}

/**
 * Without a checkpoint the log may have been trimmed behind a schema record, and what cannot be read changes no decision: the
 * log is not empty, which stops the start in any case.
 */
function decodeLeniently(input: LogTailInput, value: Uint8Array, schemas: ReadonlyMap<SchemaVersion, TableSchema>): LogRecord | null {
  try {
    return input.codec.decode(value, schemas);
  } catch (error) {
    if (input.checkpoint === null && error instanceof CausewayError && error.code === 'log_schema_unknown') return null;
    throw error;
  }
}

function epochOfRecord(record: LogRecord): number {
  switch (record.tag) {
    case 'change':
    case 'truncate':
    case 'watermark':
      return epochInSequence(record.sequence);
    case 'generation-open':
    case 'epoch-open':
      return record.epoch;
    case 'schema':
    case 'load-open':
    case 'load-close':
      return 0;
  }
}

function epochInSequence(sequence: Sequence): number {
  return decodeSequence(sequence).epoch;
}

function behind(what: 'generation' | 'epoch', found: number, own: number): CausewayError {
  return new CausewayError(
    'generation_behind',
    `the log holds ${what} ${found}, and the control store gave out ${own}: it was lost or restored. Run \`causeway lease raise${what === 'epoch' ? ' --epoch' : ''} --above ${found}\``,
  );
}
