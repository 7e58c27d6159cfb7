import { CausewayError } from '#core/errors.ts';

/** Who leads a partition, as one broker knows it. */
export type Leadership = {
  readonly partition: number;
  /** Below 0 while nobody does. */
  readonly leader: number;
  /** Rises with each leader; -1 where it is not told. */
  readonly epoch: number;
  readonly replicas: readonly number[];
  /** Copies that are in step with the leader. */
  readonly isr: readonly number[];
};

/** What one broker knows of a topic's partitions: none where it does not know the topic. */
export type Told = { readonly broker: number; readonly partitions: readonly Leadership[] };

export type Leaderships = ReadonlyMap<number, Leadership>;

const NOBODY = -1;

/**
 * The newest that brokers told of each partition; led by nobody where a newer leader may be at work of which none of them knows. A
 * broker that hung and went on is such a one: until it has heard of its successor, it names itself and the end of what it led.
 *
 * What is durable in an epoch was copied by brokers that knew of it ("KIP-320": a copy is given nothing for an older epoch), and these
 * are at least `min.insync.replicas`. So more than half of the copies prove it, where that setting is at least half of them. All copies
 * in step that are told prove it too, since the next leader is one of them; this only counts once `allAnswered` or failed, because
 * another copy can have come into step since.
 */
export function newestLeaderships(told: readonly Told[], allAnswered: boolean): Leaderships {
  const newest = new Map<number, Leadership>();
  for (const one of told.flatMap(({ partitions }) => partitions)) {
    const before = newest.get(one.partition);
    if (before === undefined || one.epoch > before.epoch) newest.set(one.partition, one);
  }
  const brokers = new Set(told.map(({ broker }) => broker));
  for (const [partition, one] of newest) {
    const answered = one.replicas.filter((replica) => brokers.has(replica));
    const isProved = answered.length > one.replicas.length / 2 || (allAnswered && one.isr.every((replica) => brokers.has(replica)));
    if (!isProved) newest.set(partition, { ...one, leader: NOBODY });
  }
  return newest;
}

/**
 * Of brokers that are all asked at once; as soon as enough have answered, so that one that hangs holds nothing up. Rejects where none
 * answers. Empty where none of them knows the topic.
 */
export async function askedLeaderships(asked: readonly Promise<Told>[]): Promise<Leaderships> {
  const told: Told[] = [];
  let failure: unknown = new CausewayError('log_unavailable', 'no broker is known');
  const failed = (error: unknown): void => void (failure = error);
  const waiting = new Set<Promise<unknown>>();
  for (const one of asked) {
    const answer: Promise<unknown> = one.then((is) => told.push(is), failed).finally(() => waiting.delete(answer));
    waiting.add(answer);
  }
  while (waiting.size > 0) {
    await Promise.race(waiting);
    const newest = newestLeaderships(told, waiting.size === 0);
    if (newest.size > 0 && [...newest.values()].every(({ leader }) => leader !== NOBODY)) return newest;
  }
  if (told.length === 0) throw failure;
  return newestLeaderships(told, true);
}
