// First: what the other modules make at their start has to be made of it too.
import './abort-signal.ts';
import { controlKeys } from '#core/control-rows.ts';
import type { ErrorCode } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import { EPOCH_FIRST, positionOf, type WallMs } from '#core/position.ts';
import type { Runtime } from '#core/runtime.ts';
import { watermarkSequence, type Sequence } from '#core/sequence.ts';
import { FakeDatabase } from '../support/fake-source.ts';
import { memoryControlRows, type MemoryControlRows } from '../support/memory-control-store.ts';
import { mapIn, MemoryLogStore } from '../support/memory-log-store.ts';
import { MemorySinkStore } from '../support/memory-sink.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { hashed } from './chance.ts';
import { Checkers } from './checkers/all.ts';
import type { Scene, Violation } from './checkers/scene.ts';
import { Coverage } from './coverage.ts';
import { PIPELINE, startProcess, type Process } from './daemon.ts';
import { EventLoop } from './event-loop.ts';
import { Life } from './life.ts';
import { LogFaults, type LimitStage } from './log-faults.ts';
import { Line, Network } from './network.ts';
import { Operator } from './operator.ts';
import { BUSY_MS, RECORD_BYTES_MAX, terminalTags, type Fault, type Plan, type Terminal } from './plan.ts';
import { lifeRuntime, lineControl, lineLog, lineSink, lineSource, type SinkWatch } from './ports.ts';
import { Trace } from './trace.ts';
import { Truth } from './truth.ts';
import { REFUSED_MARK, Workload } from './workload.ts';

export type Outcome = {
  readonly plan: Plan;
  /** `settled`: everything is at the sinks. `stopped`: it stands with the code that it has to. */
  readonly end: 'settled' | 'stopped' | 'violation';
  readonly violation: Violation | null;
  readonly hash: string;
  /** Virtual time. */
  readonly tookMs: number;
  readonly events: number;
  /** Faults that struck. */
  readonly struck: number;
  /** Transactions that changed something. */
  readonly transactions: number;
  readonly coverage: Coverage;
  readonly trace: readonly string[];
  readonly scene: Scene;
};

/** Longer than any state that passes by itself can last. */
const SETTLE_MS_MAX = 240_000;
/** Far more than a run needs, and the same on every machine. */
const EVENTS_MAX = 500_000;
const RESTART_MS = 400;
const LOOK_MS = 350;
/** Calls that are made again and again are made in this time, whatever else happens. */
const SURE_MS_MAX = 60_000;
/** Marks the values of rows that no planned transaction wrote. */
const OVERSIZED_SERIAL = 1_000_000;

/** Codes that a run may show at any time: each passes by itself, or ends one process. */
const ALWAYS: readonly ErrorCode[] = [
  'source_unavailable',
  'source_slot_in_use',
  'log_unavailable',
  'control_unavailable',
  'sink_unavailable',
  'sink_throttled',
  'lease_lost',
  'fenced',
  // Two that make a new sink known at once; looked at again at once.
  'partition_fenced',
  'sink_went_back',
];

/** What a fault that cannot be got over has to lead to: at least one of these. */
const STOPS: Readonly<Record<Terminal['tag'], readonly ErrorCode[]>> = {
  slot_gone: ['source_slot_lost'],
  slot_unusable: ['source_slot_lost'],
  slot_ahead: ['source_slot_lost'],
  // Nothing else tells a worker that takes a partition of a schema behind whose record it begins, or of the one before a schema.
  control_lost: ['generation_behind', 'checkpoint_lost', 'sink_unknown_progress', 'log_schema_unknown', 'sink_misconfigured'],
  control_back: [
    'generation_behind',
    'checkpoint_lost',
    'source_slot_lost',
    'sink_unknown_progress',
    'sink_misconfigured',
    // A sink that went back reads on in the middle of a generation, and the store does not know the schema any more.
    'log_schema_unknown',
  ],
  log_tail_lost: ['log_truncated', 'log_gap', 'log_offset_gone', 'generation_behind'],
  log_start_lost: ['log_offset_gone', 'log_gap'],
  sink_progress_lost: ['sink_unknown_progress'],
};

export async function runPlan(plan: Plan, options: { readonly trace?: boolean } = {}): Promise<Outcome> {
  const world = new World(plan, new Trace({ keep: options.trace === true }));
  return world.run();
}

/** A source, a log, a control store and sinks, and the processes that stand before them, on one clock. */
class World {
  readonly #plan: Plan;
  readonly #trace: Trace;
  readonly #loop = new EventLoop();
  readonly #coverage = new Coverage();
  readonly #database: FakeDatabase;
  readonly #workload: Workload;
  readonly #logStore: MemoryLogStore;
  readonly #logFaults: LogFaults;
  readonly #controlRows = memoryControlRows();
  readonly #sinks: ReadonlyMap<string, MemorySinkStore>;
  readonly #network: Network;
  readonly #scene: Scene;
  readonly #checkers: Checkers;
  readonly #operator: Operator;
  /** The running process of each daemon. */
  readonly #processes = new Map<number, Process>();
  readonly #allowed = new Set<ErrorCode>(ALWAYS);
  readonly #refusalOver = new Set<string>();
  /**
   * Times of a sink that are no part of its history any more, since it went back to before them. A copy from then would be a jump to
   * another history, whose progress proves nothing of this one.
   */
  readonly #abandoned = new Map<string, { readonly fromMs: number; readonly toMs: number }[]>();
  #terminal: Terminal['tag'] | null = null;
  /** Codes for which loops did not run, since the fault that cannot be got over. */
  readonly #codes = new Set<string>();
  #lives = 0;
  #begun = false;
  #quietAtMs = 0;
  #struck = 0;
  #oversized = 0;
  #violation: Violation | null = null;
  #end: 'settled' | 'stopped' | null = null;

  constructor(plan: Plan, trace: Trace) {
    this.#plan = plan;
    this.#trace = trace;
    const clock: Pick<Runtime, 'wallMs' | 'random'> = {
      wallMs: () => Math.round(Date.UTC(2026, 0, 1) + this.#loop.nowMs) as WallMs,
      random: this.#draws(1),
    };
    this.#database = new FakeDatabase(clock as Runtime);
    this.#database.arrayMax = 1 + Math.floor(hashed(plan.seed, 3, 1) * 30);
    this.#workload = new Workload(this.#database);
    this.#logStore = new MemoryLogStore({ partitions: plan.partitions, recordBytesMax: RECORD_BYTES_MAX });
    this.#logFaults = new LogFaults(this.#logStore, this.#loop, (stage) => this.#limited(stage));
    this.#sinks = new Map(plan.sinks.map((name) => [name, new MemorySinkStore()]));
    const truth = new Truth(this.#database);
    this.#scene = {
      plan,
      truth,
      database: this.#database,
      logStore: this.#logStore,
      controlRows: this.#controlRows,
      sinks: this.#sinks,
      owed: new Map(plan.sinks.map((name) => [name, new Map<RowKey, Sequence>()])),
      fail: (invariant, text, key = null) => {
        this.#violation ??= { invariant, text, key, atMs: this.#loop.nowMs };
      },
    };
    this.#checkers = new Checkers(this.#scene);
    this.#operator = new Operator(this.#controlRows, this.#sinks);
    this.#network = new Network({
      seed: plan.seed,
      loop: this.#loop,
      trace,
      coverage: this.#coverage,
      faults: plan.faults.filter((fault) => fault.tag === 'call'),
      onCrash: (life, downMs) => this.#restartIn(life, downMs),
    });
    this.#watch();
  }

  async run(): Promise<Outcome> {
    const { plan } = this;
    for (let daemon = 0; daemon < plan.daemons; daemon += 1) this.#loop.at(daemon * 30, () => this.#start(daemon));
    this.#awaitFirstStart();
    for (const fault of plan.faults) if (fault.tag !== 'call') this.#schedule(fault);
    this.#quietAtMs = Math.max(this.#quietAtMs, BUSY_MS);
    this.#loop.in(LOOK_MS, () => this.#look());
    await this.#loop.run(() => this.#violation !== null || this.#end !== null);
    if (this.#violation === null && this.#end === 'settled') this.#coverage.add('parked keys at the end', this.#checkers.final());
    // Whatever goes on by itself is cut off.
    for (const { life } of this.#processes.values()) life.die();
    return this.#outcome();
  }

  get plan(): Plan {
    return this.#plan;
  }

  /** Clients begin once the pipeline has: tables that hold rows before it are refused. */
  #awaitFirstStart(): void {
    const { transactions } = this.#plan;
    if (!this.#controlRows.rows.has(controlKeys.checkpoint(PIPELINE))) {
      this.#loop.in(20, () => this.#awaitFirstStart());
      return;
    }
    for (const [serial, planned] of transactions.entries()) this.#loop.in(planned.atMs, () => this.#workload.commit(planned, serial));
    this.#quietAtMs = Math.max(this.#quietAtMs, this.#loop.nowMs + (transactions.at(-1)?.atMs ?? 0));
    this.#begun = true;
  }

  #outcome(): Outcome {
    const { fired, nowMs } = this.#loop;
    const struck = this.#struck + this.#network.struck;
    const end = this.#violation === null ? (this.#end ?? 'violation') : 'violation';
    const transactions = this.#scene.truth.transactions.filter(({ changes, truncates }) => changes.length + truncates.length > 0).length;
    this.#coverage.add(`runs ${end}`);
    this.#coverage.add('transactions', transactions);
    this.#coverage.add('processes', this.#lives);
    return {
      plan: this.#plan,
      end,
      violation: this.#violation,
      hash: this.#trace.hash,
      tookMs: nowMs,
      events: fired,
      struck,
      transactions,
      coverage: this.#coverage,
      trace: this.#trace.lines ?? [],
      scene: this.#scene,
    };
  }

  #draws(stream: number): () => number {
    let nth = 0;
    return () => hashed(this.#plan.seed, 9_000 + stream, (nth += 1));
  }

  #watch(): void {
    this.#logStore.onAppend = (stage) => {
      if (stage === 'after') this.#checkers.appended();
      return stage === 'after' ? undefined : this.#logFaults.beforeAppend();
    };
    for (const [name, store] of this.#sinks) {
      store.poison = (_schema, row) =>
        !this.#refusalOver.has(name) && row.some((value) => value?.includes(REFUSED_MARK) === true) ? 'a value it does not take' : null;
      store.onCall = (stage, call) => {
        if (stage === 'after') this.#checkers.sinkCalled(name, call);
      };
    }
  }

  #say(text: string, life: Life | null = null): void {
    this.#trace.say(this.#loop.nowMs, life, text);
  }

  #start(daemon: number): void {
    const { plan } = this;
    const { rate, wallSkewMs } = plan.clocks[daemon] ?? { rate: 1, wallSkewMs: 0 };
    this.#lives += 1;
    const life = new Life({ daemon, id: this.#lives, loop: this.#loop, rate });
    this.#say('starts', life);
    const line = new Line(life, this.#network);
    const fail = this.#scene.fail;
    const sinks = plan.sinks.map((name) => {
      const store = this.#sinks.get(name) as MemorySinkStore;
      const watch: SinkWatch = {
        assigned: (partition) => this.#checkers.assigned(name, life, partition),
        sweepsRead: () => this.#checkers.sweepsRead(name, life),
      };
      return [name, lineSink(line, { name, store, batchRowsMax: plan.limits.batchRowsMax }, watch)] as const;
    });
    const process = startProcess({
      plan,
      life,
      runtime: lifeRuntime(line, { seed: plan.seed, wallSkewMs }),
      logger: this.#trace.lines === null ? silentLogger : tracingLogger((text) => this.#say(text, life)),
      control: lineControl(line, this.#controlRows),
      source: lineSource(line, this.#database, {
        told: (position) => this.#checkers.told(position),
        acknowledged: (position) => {
          this.#say(`acknowledges ${position}`, life);
          this.#checkers.acknowledged(position);
        },
      }),
      log: lineLog(line, this.#logStore, {
        released: (sink, partition, releases) => this.#checkers.released(sink, { life, partition }, releases),
        committed: (...of) => this.#checkers.committed(...of),
      }),
      sinks: new Map(sinks),
      onDefect: (error, where) => fail('defect', `${where}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`),
      onQueue: (bytes, bytesMax) => this.#checkers.queue(bytes, bytesMax),
      onTrouble: (code) => this.#trouble(code, life),
      onExit: (code) => {
        this.#say(`exits with ${code}`, life);
        this.#coverage.happened(`exit ${code}`);
        life.die();
        this.#restartIn(life, RESTART_MS);
      },
    });
    this.#processes.set(daemon, process);
  }

  #trouble(code: string, life: Life): void {
    this.#say(`stands: ${code}`, life);
    this.#coverage.add(`state ${code}`);
    if (this.#terminal !== null) this.#codes.add(code);
    if (!(this.#allowed as ReadonlySet<string>).has(code))
      this.#scene.fail('stop', `a loop stands with ${code}, which nothing here is a reason for`);
  }

  #restartIn(life: Life, ms: number): void {
    this.#say('is gone', life);
    this.#loop.in(ms, () => {
      if (this.#processes.get(life.daemon)?.life === life) this.#start(life.daemon);
    });
  }

  /** Looks at what is reported, does what the operator does, and sees whether everything is done. */
  #look(): void {
    const { nowMs } = this.#loop;
    for (const { life, statuses } of this.#processes.values()) {
      if (life.dead || life.held) continue;
      for (const [sink, status] of statuses) this.#checkers.reported(sink, life, status());
    }
    const approved = this.#operator.approve();
    if (approved > 0) this.#coverage.add('schemas approved', approved);
    if (nowMs >= this.#quietAtMs && this.#hasStruck()) {
      if (this.#begun && this.#isSettled()) this.#end = 'settled';
      else if (this.#begun && this.#isStopped()) this.#end = 'stopped';
      else if (nowMs > this.#quietAtMs + SETTLE_MS_MAX || this.#loop.fired > EVENTS_MAX)
        this.#scene.fail('end', `nothing is settled after a long time: ${this.#standing()}`);
    }
    this.#loop.in(LOOK_MS, () => this.#look());
  }

  #isSettled(): boolean {
    const { truth } = this.#scene;
    truth.catchUp();
    const last = watermarkSequence(EPOCH_FIRST, truth.lastCommit);
    return (
      !this.#operator.waiting &&
      this.#plan.sinks.every((sink) => this.#isWorkedOn(sink)) &&
      this.#plan.sinks.every((sink) =>
        [...this.#processes.values()].some(({ life, statuses }) => {
          if (life.dead || life.held) return false;
          const status = statuses.get(sink)?.();
          return status !== undefined && status.blocked.length === 0 && (status.watermark?.sequence ?? '') >= last;
        }),
      ) &&
      // One that has not noticed yet that the sink went back still reports what was there.
      this.#plan.sinks.every((sink) => this.#checkers.hasBeenNoticed(sink) && this.#checkers.isComplete(sink, last))
    );
  }

  /**
   * False while a worker waits whether another one, which may be gone, moves its partition: what was sent again then waits too, and
   * a key that it parks again with it.
   */
  #isWorkedOn(sink: string): boolean {
    const running = new Set<number>();
    for (const { life, statuses } of this.#processes.values()) {
      if (life.dead || life.held) continue;
      for (const { partition, state } of statuses.get(sink)?.().partitions ?? []) if (state === 'running') running.add(partition);
    }
    return running.size === this.#plan.partitions;
  }

  #isStopped(): boolean {
    if (this.#terminal === null) return false;
    const codes: ReadonlySet<string> = new Set(STOPS[this.#terminal]);
    // It has to stand so now, and not only for a moment.
    return [...this.#processes.values()].some(({ troubles }) => [...troubles.values()].some((code) => codes.has(code)));
  }

  #standing(): string {
    return [...this.#processes.values()]
      .map(({ life, statuses, troubles }) => {
        const states = [...statuses].map(([sink, status]) => `${sink} ${status().state} ${status().watermark?.sequence ?? '-'}`);
        return `${life.daemon}#${life.id}${life.dead ? ' dead' : ''}${life.held ? ' held' : ''} [${states.join(', ')}] [${[...troubles].join(' ')}]`;
      })
      .join('; ');
  }

  #schedule(fault: Exclude<Fault, { readonly tag: 'call' }>): void {
    const endMs = fault.atMs + ('forMs' in fault ? fault.forMs : 0);
    this.#quietAtMs = Math.max(this.#quietAtMs, endMs + 1);
    if (fault.tag === 'sink_back') {
      let restore: (() => void) | null = null;
      this.#loop.at(fault.keptMs, () => {
        const store = this.#sinks.get(fault.sink);
        // One from before the pipeline began has no progress, and has to be loaded again.
        if (store?.progress.size === this.#plan.partitions) restore = store.keep();
      });
      this.#loop.at(fault.atMs, () => {
        const left = (this.#abandoned.get(fault.sink) ?? []).some(({ fromMs, toMs }) => fromMs < fault.keptMs && fault.keptMs < toMs);
        if (left) return;
        mapIn(this.#abandoned, fault.sink, () => []).push({ fromMs: fault.keptMs, toMs: fault.atMs });
        this.#sinkBack(fault.sink, restore);
      });
      return;
    }
    if (fault.tag === 'control_back') {
      let kept: MemoryControlRows['rows'] | null = null;
      this.#onceBegun(fault.keptMs, () => (kept = new Map(this.#controlRows.rows)));
      this.#onceRipe(fault.atMs, () => {
        this.#terminate(fault);
        this.#checkers.controlGoesBack();
        this.#controlRows.rows.clear();
        for (const [key, row] of kept ?? []) this.#controlRows.rows.set(key, row);
      });
      return;
    }
    if (terminalTags.has(fault.tag)) this.#onceRipe(fault.atMs, () => this.#strike(fault));
    else if (fault.tag === 'row_too_large') this.#onceBegun(fault.atMs, () => this.#strike(fault));
    else this.#loop.at(fault.atMs, () => this.#strike(fault));
  }

  /** What would keep the pipeline from beginning at all leaves nothing to look at. */
  #onceBegun(atMs: number, act: () => void): void {
    this.#loop.at(atMs, () => {
      if (this.#begun) act();
      else this.#onceBegun(this.#loop.nowMs + 20, act);
    });
  }

  /** Nothing follows such a fault, so the others that a run is to have come first. */
  #onceRipe(atMs: number, act: () => void): void {
    this.#onceBegun(atMs, () => {
      if (this.#hasStruck()) {
        act();
        return;
      }
      const nextMs = this.#loop.nowMs + 20;
      this.#quietAtMs = Math.max(this.#quietAtMs, nextMs + 1);
      this.#onceRipe(nextMs, act);
    });
  }

  /** Whether the faults that are sure to strike have; a plan that was made smaller may have no call left that they could strike at. */
  #hasStruck(): boolean {
    return this.#network.waiting === 0 || this.#loop.nowMs > SURE_MS_MAX;
  }

  #limited(stage: LimitStage): void {
    if (stage === 'reached') this.#struck += 1;
    if (stage === 'reached') this.#coverage.happened('log_limit');
    else this.#coverage.add(`log limit ${stage}`);
    this.#say(`!! log limit ${stage}`);
  }

  #happened(fault: Fault): void {
    // The end of a refusal is a mend, not a fault, and a limit is none before it is reached.
    if (fault.tag !== 'refusal_ends' && fault.tag !== 'log_limit') this.#struck += 1;
    if (fault.tag !== 'log_limit') this.#coverage.happened(fault.tag);
    this.#say(`!! ${JSON.stringify(fault)}`);
  }

  #strike(fault: Exclude<Fault, { readonly tag: 'call' | 'sink_back' | 'control_back' }>): void {
    const { nowMs } = this.#loop;
    const database = this.#database;
    // A process that is not there, or is held already, feels nothing.
    const life = fault.tag === 'pause' || fault.tag === 'stop' ? this.#processes.get(fault.daemon)?.life : null;
    if (life === undefined || life?.dead === true || life?.held === true) return;
    if (terminalTags.has(fault.tag)) this.#terminate(fault as Terminal);
    else this.#happened(fault);
    switch (fault.tag) {
      case 'partition': {
        this.#network.cut(fault.daemon, fault.port, nowMs + fault.forMs);
        const holder = this.#processes.get(fault.daemon);
        if (fault.port === 'source' && holder !== undefined) holder.life.cutStream();
        return;
      }
      case 'pause': {
        life?.hold(fault.clock);
        this.#loop.in(fault.forMs, () => life?.letGo());
        return;
      }
      case 'stop':
        this.#processes.get(fault.daemon)?.stop();
        return;
      case 'slow_sink':
        this.#network.sinkDelayMs.set(fault.sink, fault.ms);
        this.#loop.in(fault.forMs, () => this.#network.sinkDelayMs.delete(fault.sink));
        return;
      case 'source_restart': {
        const earlier = database.acknowledged.at(-1 - Math.floor(hashed(this.#plan.seed, 5, Math.round(nowMs)) * 12));
        database.restart(fault.slotBack ? (earlier ?? null) : null);
        database.available = false;
        this.#loop.in(fault.forMs, () => (database.available = true));
        return;
      }
      case 'control_down':
        this.#network.controlDown(nowMs + fault.forMs);
        return;
      case 'log_full':
        this.#logFaults.full(fault.forMs);
        return;
      case 'log_limit':
        this.#logFaults.limit(this.#plan.sinks, fault);
        return;
      case 'row_too_large': {
        this.#oversized += 1;
        const op = { op: 'oversized', table: fault.table, key: fault.key } as const;
        this.#workload.commit({ atMs: nowMs, shared: false, ops: [op] }, OVERSIZED_SERIAL + this.#oversized);
        return;
      }
      case 'refusal_ends':
        this.#refusalOver.add(fault.sink);
        this.#operator.replay(fault.sink);
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
        this.#checkers.told(positionOf(String(database.head)));
        return;
      case 'control_lost':
        this.#checkers.controlGoesBack();
        this.#controlRows.rows.clear();
        return;
      case 'log_tail_lost':
        this.#checkers.logLost();
        this.#logFaults.loseTail();
        return;
      case 'log_start_lost':
        this.#logFaults.loseStart();
        return;
      case 'sink_progress_lost':
        this.#sinks.get(fault.sink)?.progress.clear();
    }
  }

  #terminate(fault: Terminal): void {
    this.#happened(fault);
    this.#terminal = fault.tag;
    for (const code of STOPS[fault.tag]) this.#allowed.add(code);
  }

  #sinkBack(sink: string, restore: (() => void) | null): void {
    if (restore === null) return;
    this.#struck += 1;
    this.#coverage.happened('sink_back');
    this.#say(`!! ${sink} goes back`);
    // Its tables may have lost columns, which is noticed at the next start.
    this.#allowed.add('sink_misconfigured');
    const store = this.#sinks.get(sink) as MemorySinkStore;
    const standing = (partition: number): readonly unknown[] => [
      store.fences.get(partition),
      store.progress.get(partition),
      store.writes.get(partition),
    ];
    const before = this.#logStore.partitions.map((_, partition) => standing(partition));
    const swept = [...store.swept];
    restore();
    const lostSweep = swept.some(([table, sequence]) => store.swept.get(table) !== sequence);
    const lost = [...before.keys()].filter((partition) => standing(partition).some((value, index) => value !== before[partition]?.[index]));
    const lives = [...this.#processes.values()].map(({ life }) => life).filter(({ dead }) => !dead);
    this.#checkers.sinkWentBack(sink, lives, { partitions: lost, sweep: lostSweep });
  }
}

function tracingLogger(say: (text: string) => void): typeof silentLogger {
  const logger: typeof silentLogger = {
    log: (level, message, fields) => say(`${level} ${message} ${fields === undefined ? '' : JSON.stringify(fields)}`),
    with: () => logger,
  };
  return logger;
}
