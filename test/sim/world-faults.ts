import type { ErrorCode } from '#core/errors.ts';
import { compareProgress } from '#core/log.ts';
import { positionOf } from '#core/position.ts';
import { applyDefaults } from '../../src/apply/apply.ts';
import type { FakeDatabase } from '../support/fake-source.ts';
import type { MemoryControlRows } from '../support/memory-control-store.ts';
import { mapIn, type MemoryLogStore } from '../support/memory-log-store.ts';
import type { MemorySinkStore } from '../support/memory-sink.ts';
import { hashed } from './chance.ts';
import type { Checkers } from './checkers/all.ts';
import { ALWAYS, STOPS } from './codes.ts';
import type { Coverage } from './coverage.ts';
import type { Process } from './daemon.ts';
import type { EventLoop } from './event-loop.ts';
import type { GroupFaults } from './group-faults.ts';
import type { LoadDesk } from './load-desk.ts';
import { LogFaults, type LimitStage } from './log-faults.ts';
import type { Network } from './network.ts';
import type { Operator } from './operator.ts';
import { terminalTags, type Fault, type GroupFault, type LoadStep, type Plan, type Terminal } from './plan.ts';
import { tableOf, type Workload } from './workload.ts';

/** Calls that are made again and again are made in this time, whatever else happens. */
const SURE_MS_MAX = 60_000;
/** Marks the values of rows that no planned transaction wrote. */
const OVERSIZED_SERIAL = 1_000_000;

const loadTags: ReadonlySet<Fault['tag']> = new Set(['load_asked', 'load_paused', 'load_cancelled']);

/** The end of a refusal is a mend, a limit is no fault before it is reached, a clock that is set changes nothing, and a load is no fault. */
const NO_FAULTS: ReadonlySet<Fault['tag']> = new Set(['refusal_ends', 'log_limit', 'clock_step', ...loadTags]);

const groupTags: ReadonlySet<Fault['tag']> = new Set(['group_storm', 'group_kicked', 'commit_refused', 'group_erased', 'send_doubled']);

function isGroupFault(fault: Fault): fault is GroupFault {
  return groupTags.has(fault.tag);
}

function isLoadStep(fault: Fault): fault is LoadStep {
  return loadTags.has(fault.tag);
}

export type WorldFaultsInput = {
  readonly plan: Plan;
  readonly loop: EventLoop;
  readonly network: Network;
  readonly database: FakeDatabase;
  readonly workload: Workload;
  readonly logStore: MemoryLogStore;
  readonly controlRows: MemoryControlRows;
  readonly sinks: ReadonlyMap<string, MemorySinkStore>;
  readonly checkers: Checkers;
  readonly operator: Operator;
  readonly coverage: Coverage;
  /** The running process of each daemon. */
  readonly processes: ReadonlyMap<number, Process>;
  /** Whether the pipeline has, and with it the clients. */
  readonly hasBegun: () => boolean;
  readonly groups: GroupFaults;
  readonly loads: LoadDesk;
  /** By how much the wall clock of a daemon, or with null of the source, was set forward. */
  readonly wallSteps: Map<number | null, number>;
  readonly say: (text: string) => void;
};

const REST_AFTER_MS = 2_500;

/** When the faults that are not of one call strike, what they do, and which codes they are a reason for. */
export class WorldFaults {
  readonly log: LogFaults;
  /** The fault that cannot be got over, once it struck. */
  terminal: Terminal['tag'] | null = null;
  /** Nothing of the plan comes after this time. */
  quietAtMs = 0;
  /** Faults that struck. */
  struck = 0;
  /** Of processes that start from now on. */
  parkedKeysMax = applyDefaults.parkedKeysMax;
  readonly #input: WorldFaultsInput;
  readonly #allowed = new Set<ErrorCode>(ALWAYS);
  readonly #refusalOver = new Set<string>();
  /**
   * Times of a sink that are no part of its history any more, since it went back to before them. A copy from then would be a jump to
   * another history, whose progress proves nothing of this one.
   */
  readonly #abandoned = new Map<string, { readonly fromMs: number; readonly toMs: number }[]>();
  #oversized = 0;

  constructor(input: WorldFaultsInput) {
    this.#input = input;
    this.log = new LogFaults(input.logStore, input.loop, (stage) => this.#limited(stage));
  }

  allows(code: string): boolean {
    return (this.#allowed as ReadonlySet<string>).has(code);
  }

  refuses(sink: string): boolean {
    return !this.#refusalOver.has(sink);
  }

  quietFrom(atMs: number): void {
    this.quietAtMs = Math.max(this.quietAtMs, atMs);
  }

  schedule(fault: Exclude<Fault, { readonly tag: 'call' }>): void {
    const endMs = fault.atMs + ('forMs' in fault ? fault.forMs : 0);
    this.quietFrom(endMs + 1);
    if (fault.tag === 'sink_back') {
      let restore: (() => void) | null = null;
      this.#input.loop.at(fault.keptMs, () => {
        const store = this.#input.sinks.get(fault.sink);
        // One from before the pipeline began has no progress, and has to be loaded again.
        if (store?.progress.size === this.#input.plan.partitions) restore = store.keep();
      });
      this.#input.loop.at(fault.atMs, () => {
        const left = (this.#abandoned.get(fault.sink) ?? []).some(({ fromMs, toMs }) => fromMs < fault.keptMs && fault.keptMs < toMs);
        if (left) return;
        mapIn(this.#abandoned, fault.sink, () => []).push({ fromMs: fault.keptMs, toMs: fault.atMs });
        this.#sinkBack(fault.sink, restore);
      });
      return;
    }
    if (fault.tag === 'control_back') {
      let kept: MemoryControlRows['rows'] | null = null;
      this.#onceBegun(fault.keptMs, () => (kept = new Map(this.#input.controlRows.rows)));
      this.#onceRipe(fault.atMs, () => {
        this.#terminate(fault);
        this.#input.checkers.controlGoesBack();
        this.#input.controlRows.rows.clear();
        for (const [key, row] of kept ?? []) this.#input.controlRows.rows.set(key, row);
      });
      return;
    }
    if (fault.tag === 'log_start_passed' || fault.tag === 'send_doubled') this.quietFrom(endMs + 6_000);
    if (terminalTags.has(fault.tag)) this.#onceRipe(fault.atMs, () => this.#strike(fault));
    else if (fault.tag === 'row_too_large' || isLoadStep(fault)) this.#onceBegun(fault.atMs, () => this.#strike(fault));
    else this.#input.loop.at(fault.atMs, () => this.#strike(fault));
  }

  /** What would keep the pipeline from beginning at all leaves nothing to look at. */
  #onceBegun(atMs: number, act: () => void): void {
    this.#input.loop.at(atMs, () => {
      if (this.#input.hasBegun()) act();
      else this.#onceBegun(this.#input.loop.nowMs + 20, act);
    });
  }

  /** Nothing follows such a fault, so the others that a run is to have come first. */
  #onceRipe(atMs: number, act: () => void): void {
    this.#onceBegun(atMs, () => {
      if (this.haveStruck()) {
        act();
        return;
      }
      const nextMs = this.#input.loop.nowMs + 20;
      this.quietFrom(nextMs + 1);
      this.#onceRipe(nextMs, act);
    });
  }

  /** Whether the faults that are sure to strike have; a plan that was made smaller may have no call left that they could strike at. */
  haveStruck(): boolean {
    return this.#input.network.waiting === 0 || this.#input.loop.nowMs > SURE_MS_MAX;
  }

  #limited(stage: LimitStage): void {
    if (stage === 'reached') this.struck += 1;
    if (stage === 'reached') this.#input.coverage.happened('log_limit');
    else this.#input.coverage.add(`log limit ${stage}`);
    this.#input.say(`!! log limit ${stage}`);
  }

  #happened(fault: Fault): void {
    if (!NO_FAULTS.has(fault.tag)) this.struck += 1;
    if (fault.tag !== 'log_limit') this.#input.coverage.happened(fault.tag);
    this.#input.say(`!! ${JSON.stringify(fault)}`);
  }

  #strike(fault: Exclude<Fault, { readonly tag: 'call' | 'sink_back' | 'control_back' }>): void {
    if (isGroupFault(fault)) {
      if (this.#input.groups.strike(fault)) this.#happened(fault);
      return;
    }
    if (isLoadStep(fault)) {
      if (!this.#input.loads.take(fault)) return;
      this.#happened(fault);
      if (fault.tag === 'load_paused') this.#input.loop.in(fault.forMs, () => this.#input.loads.resume(tableOf(fault.table)));
      return;
    }
    const { nowMs } = this.#input.loop;
    const database = this.#input.database;
    // A process that is not there, or is held already, feels nothing.
    const life = fault.tag === 'pause' || fault.tag === 'stop' ? this.#input.processes.get(fault.daemon)?.life : null;
    if (life === undefined || life?.dead === true || life?.held === true) return;
    if (terminalTags.has(fault.tag)) this.#terminate(fault as Terminal);
    else this.#happened(fault);
    switch (fault.tag) {
      case 'partition': {
        this.#input.network.cut(fault.daemon, fault.port, nowMs + fault.forMs);
        const holder = this.#input.processes.get(fault.daemon);
        if (fault.port === 'source' && holder !== undefined) holder.life.cutStream();
        return;
      }
      case 'pause': {
        life?.hold(fault.clock);
        this.#input.loop.in(fault.forMs, () => life?.letGo());
        return;
      }
      case 'stop':
        this.#input.processes.get(fault.daemon)?.stop();
        return;
      case 'slow_sink':
        this.#input.network.sinkDelayMs.set(fault.sink, fault.ms);
        this.#input.loop.in(fault.forMs, () => this.#input.network.sinkDelayMs.delete(fault.sink));
        return;
      case 'source_restart': {
        const earlier = database.acknowledged.at(-1 - Math.floor(hashed(this.#input.plan.seed, 5, Math.round(nowMs)) * 12));
        database.restart(fault.slotBack ? (earlier ?? null) : null);
        database.available = false;
        this.#input.loop.in(fault.forMs, () => (database.available = true));
        return;
      }
      case 'control_down':
        this.#input.network.controlDown(nowMs + fault.forMs);
        return;
      case 'log_full':
        this.log.full(fault.forMs);
        return;
      case 'log_limit':
        this.log.limit(this.#input.plan.sinks, fault);
        return;
      case 'row_too_large': {
        this.#oversized += 1;
        const op = { op: 'oversized', table: fault.table, key: fault.key } as const;
        this.#input.workload.commit({ atMs: nowMs, shared: false, ops: [op] }, OVERSIZED_SERIAL + this.#oversized);
        return;
      }
      case 'parked_keys_max':
        this.#allowed.add('parked_keys_max');
        this.#configure(fault.keysMax);
        this.#input.loop.in(fault.forMs, () => this.#configure(applyDefaults.parkedKeysMax));
        return;
      case 'refusal_ends':
        this.#refusalOver.add(fault.sink);
        this.#replay(fault.sink);
        return;
      case 'slot_gone':
        database.disconnect();
        database.slot = null;
        return;
      case 'slot_unusable':
        database.disconnect();
        if (database.slot !== null) database.slot.unusable = 'lost';
        return;
      case 'slot_ahead':
        database.disconnect();
        database.slot = { position: database.head, unusable: null };
        this.#input.checkers.told(positionOf(String(database.head)));
        return;
      case 'control_lost':
        this.#input.checkers.controlGoesBack();
        this.#input.controlRows.rows.clear();
        return;
      case 'log_tail_lost':
        this.#input.checkers.logLost();
        this.log.loseTail();
        return;
      case 'log_start_lost':
        // What an append that waits for room has written so far goes as well.
        this.#input.checkers.appended();
        this.log.loseStart();
        return;
      case 'log_start_passed':
        this.#input.groups.passStart(fault);
        return;
      case 'clock_step': {
        const { wallSteps } = this.#input;
        wallSteps.set(fault.daemon, (wallSteps.get(fault.daemon) ?? 0) + fault.byMs);
        return;
      }
      case 'sink_progress_lost':
        this.#input.sinks.get(fault.sink)?.progress.clear();
    }
  }

  /** What is parked now in part, and the rest later: another worker can have the partition by then, or an older sink. */
  #replay(sink: string): void {
    const parked = [...(this.#input.logStore.letters.get(sink)?.values() ?? [])].flatMap((letters) => [...letters.keys()]);
    this.#input.operator.replay(
      sink,
      parked.filter((_, index) => index % 2 === 0),
    );
    const nowMs = this.#input.loop.nowMs;
    this.quietFrom(nowMs + REST_AFTER_MS + 1);
    this.#input.loop.in(REST_AFTER_MS, () => this.#input.operator.replay(sink, null));
  }

  #configure(parkedKeysMax: number): void {
    this.parkedKeysMax = parkedKeysMax;
    for (const { stop } of this.#input.processes.values()) stop();
  }

  #terminate(fault: Terminal): void {
    this.#happened(fault);
    this.terminal = fault.tag;
    for (const code of STOPS[fault.tag]) this.#allowed.add(code);
  }

  #sinkBack(sink: string, restore: (() => void) | null): void {
    if (restore === null) return;
    this.struck += 1;
    this.#input.coverage.happened('sink_back');
    this.#input.say(`!! ${sink} goes back`);
    // Its tables may have lost columns, which is noticed at the next start.
    this.#allowed.add('sink_misconfigured');
    const store = this.#input.sinks.get(sink) as MemorySinkStore;
    // A fence that goes back alone loses nothing, but its holder cannot know that.
    const standing = (partition: number): readonly unknown[] => [
      store.fences.get(partition),
      store.progress.get(partition),
      store.writes.get(partition),
    ];
    const before = this.#input.logStore.partitions.map((_, partition) => standing(partition));
    const progressBefore = new Map(store.progress);
    const swept = [...store.swept];
    restore();
    const lostSweep = swept.some(([table, sequence]) => store.swept.get(table) !== sequence);
    const lost = [...before.keys()].filter((partition) => standing(partition).some((value, index) => value !== before[partition]?.[index]));
    const fallen = lost.filter((partition) => {
      const [was, is] = [progressBefore.get(partition), store.progress.get(partition)];
      return was !== undefined && (is === undefined || compareProgress(is, was) < 0);
    });
    const lives = [...this.#input.processes.values()].map(({ life }) => life).filter(({ dead }) => !dead);
    this.#input.checkers.sinkWentBack(sink, lives, { partitions: lost, progress: fallen, reached: progressBefore, sweep: lostSweep });
  }
}
