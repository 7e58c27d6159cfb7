import { CausewayError } from '#core/errors.ts';
import type { LogBatch, LogEnds } from '#core/log.ts';
import { continued, isOutside, offsetGone, type Place, STALE_MS } from './continuity.ts';
import { ANSWER_BYTES, damaged, logRecords } from './fetch.ts';
import { errorOf, fetchFrom } from './kafkajs-internals.ts';
import { BatchDamage, rawBatches, type RawBatch } from './record-batch.ts';
import type { KeptBrokers } from './topic-brokers.ts';

const POLL_MS = 500;
/** A compacted partition can end in a hole: so often it may have nothing up to its end. */
const EMPTY_MAX = 3;

/** From `from` to the end as it stood when it was called. */
export async function* readToEnd(
  brokers: KeptBrokers,
  place: Place & { readonly from: number },
  signal: AbortSignal,
): AsyncIterable<LogBatch> {
  const { partition } = place;
  let ends = await endsOf(brokers, place, signal);
  if (place.from > ends.end) {
    await brokers.pause(STALE_MS, signal);
    ends = await endsOf(brokers, place, signal);
  }
  if (isOutside(place.from, ends)) throw offsetGone(place, place.from, ends);
  let next = place.from;
  for await (const batches of batchesUpTo(brokers, { ...place, end: ends.end }, signal)) {
    const records = [];
    try {
      for (const batch of batches) {
        for (const record of await logRecords(place, batch, next)) if (record.offset < ends.end) records.push(record);
        next = batch.lastOffset + 1;
      }
    } catch (error) {
      throw error instanceof BatchDamage ? damaged(place, error) : error;
    }
    if (records.length > 0) yield { partition, records };
    signal.throwIfAborted();
  }
  if (next >= ends.end) return;
  throw new CausewayError('log_unavailable', `partition ${partition} of ${place.topic} was not given behind offset ${next}`);
}

export async function endsOf(brokers: KeptBrokers, { topic, partition }: Place, signal: AbortSignal): Promise<LogEnds> {
  return brokers.use(signal, async (now) => {
    const ends = (await now.ends(topic, [partition])).get(partition);
    if (ends === undefined) throw new CausewayError('log_unavailable', `no end of partition ${partition} of ${topic} was told`);
    return ends;
  });
}

/** The batches of one partition, an answer at a time. They may begin before `from`, go beyond `end`, and have holes. */
export async function* batchesUpTo(
  brokers: KeptBrokers,
  range: Place & { readonly from: number; readonly end: number },
  signal: AbortSignal,
): AsyncIterable<readonly RawBatch[]> {
  const { topic, partition, end } = range;
  let next = range.from;
  for (let empty = 0; next < end && empty < EMPTY_MAX;) {
    const from = next;
    const found = await brokers.use(signal, async (now) => {
      const broker = await now.leader(topic, partition);
      const partitions = [{ partition, epoch: now.epoch(topic, partition), from, bytesMax: ANSWER_BYTES }];
      const fetched = await fetchFrom(broker, { topic, partitions, waitMs: POLL_MS, bytesMax: ANSWER_BYTES });
      const [answer] = fetched.partitions;
      if (answer === undefined) throw new CausewayError('log_unavailable', `a broker left partition ${partition} out of its answer`);
      if (answer.errorCode !== 0) throw errorOf(answer.errorCode);
      const isHole = fetched.clientSideThrottleTime === 0 && answer.end >= end;
      return { ...continuedBatches(range, answer.bytes, from), isHole };
    });
    if (found.batches.length > 0) empty = 0;
    else if (found.isHole) empty += 1;
    next = found.next;
    if (found.batches.length > 0) yield found.batches;
  }
}

function continuedBatches(place: Place, bytes: Buffer, from: number): ReturnType<typeof continued> {
  try {
    return continued(rawBatches(bytes), from);
  } catch (error) {
    throw error instanceof BatchDamage ? damaged(place, error) : error;
  }
}
