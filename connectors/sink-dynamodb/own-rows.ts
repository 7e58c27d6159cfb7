import { CausewayError } from '#core/errors.ts';
import { fencingTokenOf } from '#core/position.ts';
import type { TableId } from '#core/schema.ts';
import { parseSequence, type Sequence } from '#core/sequence.ts';
import type { SinkProgress } from '#core/sink.ts';
import type { Item } from '../lib/dynamodb/send.ts';
import type { Held as HeldPartition } from '../lib/sink/held.ts';

/*
 * What a sink keeps beside the replicated tables, in one table for any number of sinks. `pk` is `pipeline/sink`; `sk` is
 *
 *   claim                owner (S)
 *   partition/00000      owner (S), token (N), writes (N), progress (S, JSON, absent before the first)
 *   sweep/public.orders  sequence (S)
 *   table/public.orders  id (S): the ARN and the TableId of the table that the rows of before stand in
 *
 * Under the `pk` `pipeline/sink/reports`, `sk` is `run/table/kind/hash of the key`: a difference that a reconciliation found, its attributes texts.
 *
 * Under the `pk` of `tables`, `sk` is the name of a table that some sink writes, and `by` (S) whose rows it holds.
 */

export type OwnPlace = { readonly pipeline: string; readonly sink: string };

export const CLAIM = 'claim';
export const PARTITIONS = 'partition/';
export const SWEEPS = 'sweep/';
export const TABLES = 'table/';
/** No pipeline and sink have this name: theirs have a slash. */
const TAKEN = 'tables';
const PARTITION_DIGITS = 5;

export function ownKey({ pipeline, sink }: OwnPlace, sk: string): Item {
  return { pk: { S: `${pipeline}/${sink}` }, sk: { S: sk } };
}

export function reportKey({ pipeline, sink }: OwnPlace, sk: string): Item {
  return { pk: { S: `${pipeline}/${sink}/reports` }, sk: { S: sk } };
}

export function takenKey(tableName: string): Item {
  return { pk: { S: TAKEN }, sk: { S: tableName } };
}

export function partitionSk(partition: number): string {
  return PARTITIONS + String(partition).padStart(PARTITION_DIGITS, '0');
}

/** A partition as it is stored. */
export type Held = HeldPartition & { readonly partition: number; readonly owner: string };

export function heldItem(place: OwnPlace, { partition, owner, token, progress, writes }: Held): Item {
  return {
    ...ownKey(place, partitionSk(partition)),
    owner: { S: owner },
    token: { N: String(token) },
    writes: { N: String(writes) },
    ...(progress === null ? {} : { progress: { S: JSON.stringify(progress) } }),
  };
}

/** Errors: `sink_misconfigured` for an item that is not ours. */
export function parseHeld(item: Item): Held {
  const sk = textIn(item, 'sk');
  return {
    partition: Number(sk.slice(PARTITIONS.length)),
    owner: textIn(item, 'owner'),
    token: fencingTokenOf(numberIn(item, 'token')),
    writes: numberIn(item, 'writes'),
    progress: item['progress']?.S === undefined ? null : (JSON.parse(item['progress'].S) as SinkProgress),
  };
}

export function sweepOf(item: Item): readonly [TableId, Sequence] {
  const sequence = parseSequence(textIn(item, 'sequence'));
  if (sequence === null) throw foreign();
  return [textIn(item, 'sk').slice(SWEEPS.length) as TableId, sequence];
}

export function textIn(item: Item, name: string): string {
  const text = item[name]?.S;
  if (text === undefined) throw foreign();
  return text;
}

function numberIn(item: Item, name: string): number {
  const number = Number(item[name]?.N);
  if (!Number.isSafeInteger(number)) throw foreign();
  return number;
}

function foreign(): CausewayError {
  return new CausewayError(
    'sink_misconfigured',
    'the progress table holds an item that is not of Causeway: set `progressTable` to a table of its own',
  );
}
