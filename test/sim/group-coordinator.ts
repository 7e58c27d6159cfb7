// A consumer group as a broker keeps it ("Apache Kafka protocol guide": JoinGroup, SyncGroup, Heartbeat, OffsetCommit), with what can
// happen to one. The members are the product's own.
import { CausewayError } from '#core/errors.ts';
import type { LogProgress } from '#core/log.ts';
import type { Broker } from '../../connectors/log-kafka/kafkajs-internals.ts';
import { errorOf } from '../../connectors/log-kafka/kafkajs-internals.ts';
import type { EventLoop } from './event-loop.ts';

type Asked<Call extends 'joinGroup' | 'syncGroup' | 'heartbeat' | 'offsetCommit'> = Parameters<Broker[Call]>[0];
type Joined = Awaited<ReturnType<Broker['joinGroup']>>;
type Synced = Awaited<ReturnType<Broker['syncGroup']>>;

type Member = {
  readonly id: string;
  readonly daemon: number;
  readonly sessionMs: number;
  metadata: Buffer;
  seenMs: number;
  joining: PromiseWithResolvers<Joined> | null;
  syncing: PromiseWithResolvers<Synced> | null;
  share: Buffer;
};

/** What happened to a group, for the coverage of a run. */
export type GroupEvent =
  'rebalance' | 'session ended' | 'left out of a rebalance' | 'member left' | 'stale commit refused' | 'commit refused by a fault';

const GROUP_LOADS = errorOf(14);
const ILLEGAL_GENERATION = errorOf(22);
const UNKNOWN_MEMBER = errorOf(25);
const REBALANCE = errorOf(27);

/** One consumer group. Its offsets are the caller's. */
export class GroupCoordinator {
  readonly #loop: EventLoop;
  readonly #told: (event: GroupEvent) => void;
  readonly #members = new Map<string, Member>();
  #state: 'empty' | 'preparing' | 'completing' | 'stable' = 'empty';
  #generation = 0;
  #leader = '';
  #names = 0;
  /** Rebalances that were begun. */
  #rounds = 0;
  #refusesCommitsUntilMs = 0;
  readonly #deafUntilMs = new Map<number, number>();

  constructor(loop: EventLoop, told: (event: GroupEvent) => void) {
    this.#loop = loop;
    this.#told = told;
  }

  /** Answered when all members have joined. */
  join(daemon: number, request: Asked<'joinGroup'>): Promise<Joined> {
    this.#hears(daemon);
    const metadata = request.groupProtocols[0]?.metadata ?? Buffer.alloc(0);
    const known = request.memberId === '' ? this.#add(daemon, request.sessionTimeout) : this.#known(request.memberId);
    known.seenMs = this.#loop.nowMs;
    const isSame = metadata.equals(known.metadata) && request.memberId !== '' && known.id !== this.#leader;
    if (isSame && this.#state === 'stable') return Promise.resolve(this.#joined(known));
    known.metadata = metadata;
    known.joining = Promise.withResolvers();
    const answer = known.joining.promise;
    this.rebalance();
    this.#completeIfAllJoined();
    return answer;
  }

  sync(daemon: number, request: Asked<'syncGroup'>): Promise<Synced> {
    this.#hears(daemon);
    const member = this.#ofGeneration(request.memberId, request.generationId);
    if (this.#state === 'preparing') throw REBALANCE;
    if (this.#state === 'completing' && member.id === this.#leader) {
      for (const { memberId, memberAssignment } of request.groupAssignment) {
        const given = this.#members.get(memberId);
        if (given !== undefined) given.share = memberAssignment;
      }
      this.#state = 'stable';
      for (const other of this.#members.values()) {
        other.syncing?.resolve({ memberAssignment: other.share });
        other.syncing = null;
      }
    }
    if (this.#state === 'stable') return Promise.resolve({ memberAssignment: member.share });
    member.syncing = Promise.withResolvers();
    return member.syncing.promise;
  }

  heartbeat(daemon: number, request: Asked<'heartbeat'>): void {
    this.#hears(daemon);
    this.#ofGeneration(request.memberId, request.groupGenerationId);
    if (this.#state === 'preparing') throw REBALANCE;
  }

  leave(daemon: number, memberId: string): void {
    this.#hears(daemon);
    this.#remove(this.#known(memberId), 'member left');
  }

  /** Stores progress if the group's generation lets it. */
  commit(daemon: number, request: Asked<'offsetCommit'>, store: (partition: number, progress: LogProgress) => void): void {
    this.#hears(daemon);
    if (this.#refusesCommitsUntilMs > this.#loop.nowMs) {
      this.#told('commit refused by a fault');
      throw GROUP_LOADS;
    }
    try {
      this.#ofGeneration(request.memberId, request.groupGenerationId);
      if (this.#state === 'completing') throw REBALANCE;
    } catch (error) {
      this.#told('stale commit refused');
      throw error;
    }
    for (const { partition, offset, metadata } of request.topics.flatMap(({ partitions }) => partitions)) {
      const pair = metadata === null ? null : (JSON.parse(metadata) as LogProgress['pair']);
      store(partition, { offset: Number(offset) as LogProgress['offset'], pair });
    }
  }

  /** Begins a rebalance, unless one is under way. */
  rebalance(): void {
    if (this.#state === 'preparing' || this.#members.size === 0) return;
    this.#state = 'preparing';
    this.#told('rebalance');
    this.#rounds += 1;
    const round = this.#rounds;
    for (const member of this.#members.values()) {
      member.syncing?.reject(REBALANCE);
      member.syncing = null;
    }
    const patienceMs = Math.max(...[...this.#members.values()].map(({ sessionMs }) => sessionMs));
    this.#loop.in(patienceMs, () => {
      if (this.#state !== 'preparing' || round !== this.#rounds) return;
      for (const member of [...this.#members.values()]) {
        if (member.joining !== null) continue;
        this.#told('left out of a rebalance');
        this.#forget(member);
      }
      this.#completeIfAllJoined();
    });
  }

  /** Takes the daemon for gone, which learns it by the next thing that it asks; for so long it hears nothing. False if it is no member. */
  kick(daemon: number, deafForMs: number): boolean {
    const members = [...this.#members.values()].filter((member) => member.daemon === daemon);
    if (members.length === 0) return false;
    this.#deafUntilMs.set(daemon, this.#loop.nowMs + deafForMs);
    for (const member of members) this.#remove(member, 'session ended');
    return true;
  }

  refuseCommits(forMs: number): void {
    this.#refusesCommitsUntilMs = this.#loop.nowMs + forMs;
  }

  /** The group itself is forgotten, with its members and its generations. */
  erase(): void {
    for (const member of [...this.#members.values()]) this.#forget(member);
    this.#state = 'empty';
    this.#generation = 0;
  }

  #hears(daemon: number): void {
    if ((this.#deafUntilMs.get(daemon) ?? 0) > this.#loop.nowMs)
      throw new CausewayError('log_unavailable', 'the coordinator does not answer');
  }

  #known(memberId: string): Member {
    const member = this.#members.get(memberId);
    if (member === undefined) throw UNKNOWN_MEMBER;
    return member;
  }

  #ofGeneration(memberId: string, generation: number): Member {
    const member = this.#known(memberId);
    if (generation !== this.#generation) throw ILLEGAL_GENERATION;
    member.seenMs = this.#loop.nowMs;
    return member;
  }

  #add(daemon: number, sessionMs: number): Member {
    this.#names += 1;
    const nothingYet = { metadata: Buffer.alloc(0), joining: null, syncing: null, share: Buffer.alloc(0) };
    const member: Member = { id: `member-${this.#names}`, daemon, sessionMs, seenMs: this.#loop.nowMs, ...nothingYet };
    this.#members.set(member.id, member);
    this.#watch(member);
    return member;
  }

  /** A member that is waited for is not asked for a heartbeat. */
  #watch(member: Member): void {
    const waits = member.joining !== null || member.syncing !== null;
    const untilMs = (waits ? this.#loop.nowMs : member.seenMs) + member.sessionMs;
    this.#loop.at(untilMs, () => {
      if (this.#members.get(member.id) !== member) return;
      const isWaitedFor = member.joining !== null || member.syncing !== null;
      if (!isWaitedFor && this.#loop.nowMs - member.seenMs >= member.sessionMs - 1e-6) this.#remove(member, 'session ended');
      else this.#watch(member);
    });
  }

  #remove(member: Member, why: GroupEvent): void {
    this.#told(why);
    this.#forget(member);
    this.rebalance();
    this.#completeIfAllJoined();
  }

  #forget(member: Member): void {
    this.#members.delete(member.id);
    member.joining?.reject(UNKNOWN_MEMBER);
    member.syncing?.reject(UNKNOWN_MEMBER);
    if (this.#members.size === 0) this.#state = 'empty';
  }

  #completeIfAllJoined(): void {
    const members = [...this.#members.values()];
    if (this.#state !== 'preparing' || members.some(({ joining }) => joining === null)) return;
    this.#generation += 1;
    this.#state = 'completing';
    if (!this.#members.has(this.#leader)) this.#leader = members[0]?.id ?? '';
    for (const member of members) {
      member.share = Buffer.alloc(0);
      member.seenMs = this.#loop.nowMs;
      member.joining?.resolve(this.#joined(member));
      member.joining = null;
    }
  }

  #joined(member: Member): Joined {
    const all = [...this.#members.values()].map(({ id: memberId, metadata: memberMetadata }) => ({ memberId, memberMetadata }));
    const members = member.id === this.#leader ? all : [];
    return { generationId: this.#generation, leaderId: this.#leader, memberId: member.id, members };
  }
}
