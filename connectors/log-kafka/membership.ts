import { type Logger, type Runtime, untilBeatMs } from '#core/runtime.ts';
import { brokerErrorType, kafkaError } from './errors.ts';
import { groupProtocol, type Broker } from './kafkajs-internals.ts';
import { type Member, shareOut } from './share-out.ts';
import { passes, type TopicBrokers, waitMs } from './topic-brokers.ts';

export type GroupPlace = { readonly groupId: string; readonly topic: string; readonly partitions: number };

/** What fences a commit: a coordinator refuses it once the group has gone on without this member. */
export type GroupToken = { readonly memberId: string; readonly groupGenerationId: number };

export type MembershipInput = GroupPlace & {
  readonly brokers: TopicBrokers;
  readonly sessionTimeoutMs: number;
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** Told which partitions this member has now. `kept` is false where others may have had them in between. */
  readonly onAssigned: (partitions: readonly number[], kept: boolean) => void;
};

/** Short, because a member learns only by this that another one came or left. */
const HEARTBEAT_MS = 1_000;
const HEARTBEATS_PER_SESSION = 4;
/** A coordinator that moves, or a new cluster that makes its topic for offsets, takes some seconds, and needs nobody. */
const QUIET_MS = 5_000;
/** How members share partitions out; all have to know it. */
const PROTOCOL = 'causeway-even';
const VERSION = 1;

const LEFT_OUT: ReadonlySet<string> = new Set(['UNKNOWN_MEMBER_ID', 'ILLEGAL_GENERATION']);
const REBALANCE = 'REBALANCE_IN_PROGRESS';
const COORDINATOR_MOVED: ReadonlySet<string> = new Set(['NOT_COORDINATOR_FOR_GROUP', 'GROUP_COORDINATOR_NOT_AVAILABLE']);

/**
 * Keeps this process a member of a consumer group ("Apache Kafka protocol guide": JoinGroup, SyncGroup, Heartbeat), for as long as
 * that takes. The consumer of kafkajs would do it too, but fetches, resets and erases offsets by itself, and starts anew when it likes.
 */
export class Membership {
  readonly #input: MembershipInput;
  #memberId = '';
  #generation = -1;
  #owned: readonly number[] = [];
  #coordinator: Broker | null = null;

  constructor(input: MembershipInput) {
    this.#input = input;
  }

  get token(): GroupToken {
    return { memberId: this.#memberId, groupGenerationId: this.#generation };
  }

  /** Until the signal, with which the brokers have to be closed. Errors: those that do not pass by themselves. */
  async run(signal: AbortSignal): Promise<void> {
    const { runtime, logger, groupId: group, sessionTimeoutMs } = this.#input;
    const beatMs = Math.min(HEARTBEAT_MS, sessionTimeoutMs / HEARTBEATS_PER_SESSION);
    let failing: { readonly sinceMs: number; isTold: boolean } | null = null;
    for (let attempt = 0; ;) {
      signal.throwIfAborted();
      try {
        await this.#join();
        attempt = 0;
        failing = null;
        while (true) {
          await runtime.sleep(untilBeatMs(beatMs, runtime.monotonicMs()), signal);
          await this.#beat();
        }
      } catch (error) {
        signal.throwIfAborted();
        const type = brokerErrorType(error) ?? '';
        if (type === REBALANCE) continue;
        if (LEFT_OUT.has(type)) {
          logger.log('info', 'the consumer group went on without this member', { group, type });
          this.#leftOut(type);
          continue;
        }
        if (!passes(error)) throw kafkaError(error);
        const nowMs = runtime.monotonicMs();
        failing ??= { sinceMs: nowMs, isTold: false };
        if (!failing.isTold && nowMs - failing.sinceMs >= QUIET_MS) {
          failing.isTold = true;
          logger.log('warn', 'the consumer group does not answer: trying on', { group, ...told(error) });
        }
        await this.#forgetCoordinator(type);
        await runtime.sleep(waitMs(runtime, attempt), signal);
        attempt += 1;
      }
    }
  }

  async #join(): Promise<void> {
    const { groupId, topic, partitions, sessionTimeoutMs } = this.#input;
    const coordinator = await this.#find();
    const metadata = groupProtocol.MemberMetadata.encode({ version: VERSION, topics: [topic], userData: ownedBytes(this.#owned) });
    const joined = await coordinator.joinGroup({
      groupId,
      memberId: this.#memberId,
      sessionTimeout: sessionTimeoutMs,
      rebalanceTimeout: sessionTimeoutMs,
      groupProtocols: [{ name: PROTOCOL, metadata }],
    });
    const { memberId, generationId } = joined;
    // A generation that this member took no part in may have given its partitions to others.
    const kept = memberId === this.#memberId && generationId === this.#generation + 1;
    this.#memberId = memberId;
    const shares = joined.leaderId === memberId ? shareOut(joined.members.map(memberOf), partitions) : new Map<string, readonly number[]>();
    const { memberAssignment } = await coordinator.syncGroup({
      groupId,
      memberId,
      generationId,
      groupAssignment: [...shares].map(([id, own]) => ({ memberId: id, memberAssignment: assignmentBytes(topic, own) })),
    });
    this.#generation = generationId;
    this.#owned = groupProtocol.MemberAssignment.decode(memberAssignment)?.assignment[topic] ?? [];
    this.#input.onAssigned(this.#owned, kept);
  }

  async #beat(): Promise<void> {
    const coordinator = await this.#find();
    const { groupId } = this.#input;
    await coordinator.heartbeat({ groupId, memberId: this.#memberId, groupGenerationId: this.#generation });
  }

  #leftOut(type: string): void {
    if (type === 'UNKNOWN_MEMBER_ID') this.#memberId = '';
    this.#generation = -1;
    this.#owned = [];
    this.#input.onAssigned([], false);
  }

  async #find(): Promise<Broker> {
    this.#coordinator ??= await coordinatorOf(this.#input.brokers, this.#input);
    return this.#coordinator;
  }

  /** Whoever it is next, is asked for again; a connection with an answer that may be late is not used any more. */
  async #forgetCoordinator(type: string): Promise<void> {
    const coordinator = this.#coordinator;
    this.#coordinator = null;
    if (!COORDINATOR_MOVED.has(type)) await coordinator?.disconnect().catch(() => undefined);
  }
}

/** Ends a membership that `run` has left: without it the group would wait until the session ends. */
export async function leaveGroup(
  brokers: TopicBrokers,
  member: { readonly groupId: string; readonly topic: string; readonly memberId: string },
): Promise<void> {
  const coordinator = await coordinatorOf(brokers, member);
  await coordinator.leaveGroup(member);
}

function coordinatorOf(brokers: TopicBrokers, of: { readonly groupId: string; readonly topic: string }): Promise<Broker> {
  return brokers.coordinator({ name: of.groupId, of: 'group', topic: of.topic });
}

function ownedBytes(owned: readonly number[]): Buffer {
  return Buffer.from(JSON.stringify({ owned }));
}

function memberOf({ memberId, memberMetadata }: { readonly memberId: string; readonly memberMetadata: Buffer }): Member {
  const { userData } = groupProtocol.MemberMetadata.decode(memberMetadata);
  const { owned } = JSON.parse((userData ?? Buffer.from('{}')).toString()) as { readonly owned?: readonly number[] };
  return { id: memberId, owned: owned ?? [] };
}

function assignmentBytes(topic: string, partitions: readonly number[]): Buffer {
  return groupProtocol.MemberAssignment.encode({ version: VERSION, assignment: { [topic]: partitions }, userData: Buffer.alloc(0) });
}

function told(error: unknown): { readonly code: string; readonly message: string } {
  const { code, message } = kafkaError(error);
  return { code, message };
}
