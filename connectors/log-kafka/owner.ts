import { CausewayError } from '#core/errors.ts';
import { fetchFrom, errorOf } from './kafkajs-internals.ts';
import { BatchDamage, headersOf, rawBatches, recordsOf } from './record-batch.ts';
import { damaged } from './fetch.ts';
import type { KeptBrokers, TopicBrokers } from './topic-brokers.ts';

/** Header of the first record of each batch of the log: names the pipeline that wrote it, once for all of its records. */
export const OWNER = 'causeway';

/** The oldest or the newest batch of a partition. */
export type Edge = {
  readonly partition: number;
  readonly offset: number;
  /** The pipeline that the batch names; null where another program wrote it. */
  readonly owner: string | null;
  /** The latest time that the broker gave to one of its records. */
  readonly atWallMs: number;
};

/** Of what a broker gives, one batch always, whatever its size. */
const BATCH_BYTES = 1;

/** The oldest and the newest batch of each partition that has any. Errors: `log_damaged`. */
export async function topicEdges(
  brokers: KeptBrokers,
  { topic, partitions }: { readonly topic: string; readonly partitions: number },
  signal: AbortSignal,
): Promise<readonly Edge[]> {
  return brokers.use(signal, async (now) => {
    const ends = await now.ends(
      topic,
      Array.from({ length: partitions }, (_none, partition) => partition),
    );
    const edges: Edge[] = [];
    for (const [partition, { start, end }] of ends) {
      if (end === start) continue;
      edges.push(await edgeAt(now, { topic, partition, offset: start }));
      edges.push(await edgeAt(now, { topic, partition, offset: end - 1 }));
      signal.throwIfAborted();
    }
    return edges;
  });
}

/** What is written into a topic that somebody else writes too is of use to neither. Errors: `log_foreign`. */
export function checkOwner(edges: readonly Edge[], { topic, pipeline }: { readonly topic: string; readonly pipeline: string }): void {
  const foreign = foreignEdge(edges, pipeline);
  if (foreign === null) return;
  const { partition, offset, owner } = foreign;
  const whose = owner === null ? 'is not a record of Causeway' : `belongs to the pipeline ${owner}`;
  throw new CausewayError(
    'log_foreign',
    `what stands at offset ${offset} of partition ${partition} of the topic ${topic} ${whose}: give this pipeline a topic of its own in log.topic`,
  );
}

export function foreignEdge(edges: readonly Edge[], pipeline: string): Edge | null {
  return edges.find(({ owner }) => owner !== pipeline) ?? null;
}

async function edgeAt(
  brokers: TopicBrokers,
  at: { readonly topic: string; readonly partition: number; readonly offset: number },
): Promise<Edge> {
  const { topic, partition, offset } = at;
  const leader = await brokers.leader(topic, partition);
  const wanted = { partition, epoch: brokers.epoch(topic, partition), from: offset, bytesMax: BATCH_BYTES };
  const { partitions } = await fetchFrom(leader, { topic, partitions: [wanted], waitMs: 0, bytesMax: BATCH_BYTES });
  const errorCode = partitions[0]?.errorCode ?? 0;
  const gone = (): CausewayError =>
    new CausewayError('log_unavailable', `partition ${partition} of ${topic} changed while it was looked at`);
  if (errorCode !== 0) throw errorOf(errorCode).type === 'OFFSET_OUT_OF_RANGE' ? gone() : errorOf(errorCode);
  try {
    const [batch] = rawBatches(partitions[0]?.bytes ?? Buffer.alloc(0));
    // Freed since its ends were told, or held back by a quota: asked for again.
    if (batch === undefined) throw gone();
    const [first] = batch.isControl ? [] : await recordsOf(batch);
    const owner = first === undefined ? null : (headersOf(first).get(OWNER)?.toString() ?? null);
    return { partition, offset, owner, atWallMs: batch.atWallMs };
  } catch (error) {
    throw error instanceof BatchDamage ? damaged(at, error) : error;
  }
}
