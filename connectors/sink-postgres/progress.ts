import { CausewayError } from '#core/errors.ts';
import { epochMicrosOf, fencingTokenOf, offsetOf } from '#core/position.ts';
import { parseSequence, type Sequence } from '#core/sequence.ts';
import type { EpochFork, Floor, SinkProgress, OpenLoad } from '#core/sink.ts';

import type { Statement } from '../lib/postgres/flight.ts';
import { quoteLiteral } from '../lib/postgres/quote.ts';
import type { Held as HeldPartition } from '../lib/sink/held.ts';
import type { OwnTables } from './names.ts';
import type { TextRow } from './session.ts';

/** Whose progress it is. */
export type ProgressOwner = { readonly own: OwnTables; readonly pipeline: string; readonly sink: string };

/** The columns that `parseHeld` reads, in its order. */
export const HELD_COLUMNS =
  'partition, token, log_offset, generation, counter, holder, ' +
  "pg_catalog.encode(watermark, 'hex'), watermark_time, floors::text, open_loads::text, epochs::text, replays, writes";

/** A row of the progress table. */
export type Held = HeldPartition & { readonly partition: number };

export function ownerCondition({ pipeline, sink }: ProgressOwner): string {
  return `pipeline = ${quoteLiteral(pipeline)} AND sink = ${quoteLiteral(sink)}`;
}

export function parseHeld(row: TextRow): Held {
  const [partition, token, offset, generation, counter, holder, watermark, watermarkTime, floors, openLoads, epochs, replays, writes] = row;
  const held = { partition: Number(partition), token: fencingTokenOf(Number(token)), writes: Number(writes) };
  if (offset === null || offset === undefined) return { ...held, progress: null };
  const pair =
    generation === null || generation === undefined ? null : { generation: fencingTokenOf(Number(generation)), counter: Number(counter) };
  return {
    ...held,
    progress: {
      offset: offsetOf(Number(offset)),
      pair,
      holder: holder ?? null,
      watermark:
        watermark === null || watermark === undefined
          ? null
          : { sequence: storedSequence(watermark), sourceTime: epochMicrosOf(Number(watermarkTime)) },
      floors: JSON.parse(floors ?? '[]') as Floor[],
      openLoads: JSON.parse(openLoads ?? '[]') as OpenLoad[],
      epochs: JSON.parse(epochs ?? '[]') as EpochFork[],
      replays: Number(replays),
    },
  };
}

export function storedSequence(hex: string): Sequence {
  const sequence = parseSequence(hex);
  if (sequence === null) throw new CausewayError('sink_misconfigured', 'a stored sequence is damaged: it has not 24 bytes');
  return sequence;
}

/**
 * Locks the partition's row, so that a new holder waits until this batch has ended. No row for one whose
 * claim was removed: the tokens of another deployment begin anew, and could be the same.
 */
export function lockStatement(owner: ProgressOwner, claimant: string, partition: number): Statement {
  const text = `SELECT ${HELD_COLUMNS} FROM ${owner.own.progress}
  WHERE ${ownerCondition(owner)} AND partition = $1 AND EXISTS (SELECT ${claimOf(owner, claimant)}) FOR UPDATE`;
  return { name: 'causeway-lock', text, values: [String(partition)] };
}

/** Raises the fence by one and answers the row; none where the claimant has not the claim. */
export function raiseStatement(owner: ProgressOwner, claimant: string, partition: number): string {
  return `INSERT INTO ${owner.own.progress} AS p (pipeline, sink, partition, token) SELECT pipeline, sink, ${partition}, 1 ${claimOf(owner, claimant)}
  ON CONFLICT (pipeline, sink, partition) DO UPDATE SET token = p.token + 1 RETURNING ${HELD_COLUMNS}`;
}

function claimOf(owner: ProgressOwner, claimant: string): string {
  return `FROM ${owner.own.owners} WHERE ${ownerCondition(owner)} AND owner = ${quoteLiteral(claimant)}`;
}

/** Stores `progress` where there is some, and counts the rows where the transaction has some. Null where there is nothing to store. */
export function stepStatement(
  owner: ProgressOwner,
  partition: number,
  step: { readonly progress: SinkProgress | null; readonly writes: number | null },
): Statement | null {
  const { progress, writes } = step;
  const where = `WHERE ${ownerCondition(owner)} AND partition = $1`;
  const place = [String(partition), writes === null ? null : String(writes)];
  if (progress === null) {
    if (writes === null) return null;
    return { name: 'causeway-count', text: `UPDATE ${owner.own.progress} SET writes = $2 ${where}`, values: place };
  }
  const { offset, pair, holder, watermark, floors, openLoads, epochs, replays } = progress;
  const text = `UPDATE ${owner.own.progress} SET writes = COALESCE($2, writes), log_offset = $3, generation = $4, counter = $5, holder = $6,
  watermark = pg_catalog.decode($7, 'hex'), watermark_time = $8, floors = $9, open_loads = $10, epochs = $11, replays = $12 ${where}`;
  const number = (value: number | undefined): string | null => (value === undefined ? null : String(value));
  const values = [
    ...place,
    ...[
      number(offset),
      number(pair?.generation),
      number(pair?.counter),
      holder,
      watermark?.sequence ?? null,
      number(watermark?.sourceTime),
    ],
    ...[floors, openLoads, epochs].map((list) => JSON.stringify(list)),
    String(replays),
  ];
  return { name: 'causeway-step', text, values };
}
