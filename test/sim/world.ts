// First: what the other modules make at their start has to be made of it too.
import './abort-signal.ts';
import { controlKeys } from '#core/control-rows.ts';
import type { RowKey } from '#core/key.ts';
import type { LogReader } from '#core/log.ts';
import { EPOCH_FIRST, type WallMs } from '#core/position.ts';
import type { Runtime } from '#core/runtime.ts';
import { watermarkSequence, type Sequence } from '#core/sequence.ts';
import { FakeDatabase } from '../support/fake-source.ts';
import { memoryControlRows } from '../support/memory-control-store.ts';
import { MemoryLogStore } from '../support/memory-log-store.ts';
import { MemorySinkStore } from '../support/memory-sink.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { hashed } from './chance.ts';
import { Checkers } from './checkers/all.ts';
import type { Scene, Violation } from './checkers/scene.ts';
import { STOPS } from './codes.ts';
import { Coverage } from './coverage.ts';
import { PIPELINE, startProcess, type Process } from './daemon.ts';
import { EventLoop } from './event-loop.ts';
import { GroupFaults } from './group-faults.ts';
import { groupReader } from './group-reader.ts';
import { Life } from './life.ts';
import { Line, Network } from './network.ts';
import { LoadDesk } from './load-desk.ts';
import { Operator } from './operator.ts';
import { BUSY_MS, RECORD_BYTES_MAX, type Plan, type PlannedTransaction } from './plan.ts';
import { lifeRuntime, lineControl, lineLog, lineSink, lineSource, type LogWatcher, type SinkWatch } from './ports.ts';
import { rowwiseSink } from './rowwise-sink.ts';
import { Trace } from './trace.ts';
import { Truth } from './truth.ts';
import { REFUSED_MARK, Workload } from './workload.ts';
import { WorldFaults } from './world-faults.ts';

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
/** Marks the values of rows that were there before the pipeline began. */
const BEFORE_SERIAL = 2_000_000;
const LOOK_MS = 350;

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
  readonly #faults: WorldFaults;
  readonly #groups: GroupFaults;
  readonly #wallSteps = new Map<number | null, number>();
  readonly #controlRows = memoryControlRows();
  readonly #sinks: ReadonlyMap<string, MemorySinkStore>;
  readonly #network: Network;
  readonly #scene: Scene;
  readonly #checkers: Checkers;
  readonly #operator: Operator;
  readonly #loads: LoadDesk;
  /** The running process of each daemon. */
  readonly #processes = new Map<number, Process>();
  #lives = 0;
  #begun = false;
  #violation: Violation | null = null;
  #end: 'settled' | 'stopped' | null = null;
  #wasSettled = false;

  constructor(plan: Plan, trace: Trace) {
    this.#plan = plan;
    this.#trace = trace;
    const clock: Pick<Runtime, 'wallMs' | 'random'> = {
      wallMs: () => Math.round(Date.UTC(2026, 0, 1) + this.#loop.nowMs + (this.#wallSteps.get(null) ?? 0)) as WallMs,
      random: this.#draws(1),
    };
    this.#database = new FakeDatabase(clock as Runtime);
    this.#database.arrayMax = 1 + Math.floor(hashed(plan.seed, 3, 1) * 30);
    this.#workload = new Workload(this.#database);
    this.#logStore = new MemoryLogStore({
      partitions: plan.partitions,
      recordBytesMax: RECORD_BYTES_MAX,
      sharesPartitions: plan.sharesPartitions === true,
    });
    this.#sinks = new Map(plan.sinks.map((name) => [name, new MemorySinkStore()]));
    const truth = new Truth(this.#database);
    this.#scene = {
      plan,
      truth,
      database: this.#database,
      logStore: this.#logStore,
      controlRows: this.#controlRows,
      sinks: this.#sinks,
      isHalfLoaded: (table, sink) => this.#loads.isHalfLoaded(table, sink),
      owed: new Map(plan.sinks.map((name) => [name, new Map<RowKey, Sequence>()])),
      fail: (invariant, text, key = null) => {
        this.#violation ??= { invariant, text, key, atMs: this.#loop.nowMs };
      },
    };
    this.#checkers = new Checkers(this.#scene);
    this.#loads = new LoadDesk({ controlRows: this.#controlRows, logStore: this.#logStore, sinks: this.#sinks, wallMs: clock.wallMs });
    this.#operator = new Operator(this.#controlRows, this.#sinks);
    this.#network = new Network({
      seed: plan.seed,
      loop: this.#loop,
      trace,
      coverage: this.#coverage,
      faults: plan.faults.filter((fault) => fault.tag === 'call'),
      onCrash: (life, downMs) => this.#restartIn(life, downMs),
    });
    this.#groups = new GroupFaults({
      loop: this.#loop,
      network: this.#network,
      store: this.#logStore,
      coverage: this.#coverage,
      onAppended: () => this.#checkers.appended(),
    });
    this.#faults = new WorldFaults({
      plan,
      loop: this.#loop,
      network: this.#network,
      database: this.#database,
      workload: this.#workload,
      logStore: this.#logStore,
      controlRows: this.#controlRows,
      sinks: this.#sinks,
      checkers: this.#checkers,
      operator: this.#operator,
      coverage: this.#coverage,
      processes: this.#processes,
      hasBegun: () => this.#begun,
      groups: this.#groups,
      loads: this.#loads,
      wallSteps: this.#wallSteps,
      say: (text) => this.#say(text),
    });
    this.#watch();
  }

  async run(): Promise<Outcome> {
    const { plan } = this;
    for (const [index, planned] of (plan.loads?.before ?? []).entries()) this.#workload.commit(planned, BEFORE_SERIAL + index);
    if (plan.loads?.clientsFirst === true) this.#startClients();
    for (let daemon = 0; daemon < plan.daemons; daemon += 1) this.#loop.at(daemon * 30, () => this.#start(daemon));
    this.#awaitFirstStart();
    for (const fault of plan.faults) if (fault.tag !== 'call') this.#faults.schedule(fault);
    this.#faults.quietFrom(BUSY_MS);
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

  /** Clients begin once the pipeline has, unless the plan has them begin before. */
  #awaitFirstStart(): void {
    if (!this.#controlRows.rows.has(controlKeys.checkpoint(PIPELINE))) {
      this.#loop.in(20, () => this.#awaitFirstStart());
      return;
    }
    if (this.#plan.loads?.clientsFirst !== true) this.#startClients();
    this.#begun = true;
  }

  #startClients(): void {
    for (const [serial, planned] of this.#plan.transactions.entries()) {
      const { atMs, hiddenMs = 0 } = planned;
      this.#loop.in(atMs, () => {
        if (this.#workload.commit(this.#begun ? planned : withoutColumns(planned), serial))
          this.#loop.in(hiddenMs, () => this.#database.show(1));
      });
      this.#faults.quietFrom(this.#loop.nowMs + atMs + hiddenMs);
    }
  }

  #outcome(): Outcome {
    const { fired, nowMs } = this.#loop;
    const struck = this.#faults.struck + this.#network.struck;
    const end = this.#violation === null ? (this.#end ?? 'violation') : 'violation';
    const transactions = this.#scene.truth.transactions.filter(({ changes, truncates }) => changes.length + truncates.length > 0).length;
    this.#coverage.add(`runs ${end}`);
    this.#coverage.add('transactions', transactions);
    this.#coverage.add('processes', this.#lives);
    for (const { state, chunks, rows } of this.#loads.rows) {
      this.#coverage.add(`loads ${state}`);
      this.#coverage.add('chunks', chunks);
      this.#coverage.add('rows read', rows);
    }
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
    this.#logStore.onAppend = (stage, records) => {
      if (stage === 'after') {
        this.#checkers.appended();
        this.#groups.appended(records);
      }
      return stage === 'after' ? undefined : this.#faults.log.beforeAppend();
    };
    for (const [name, store] of this.#sinks) {
      store.poison = (_schema, row) =>
        this.#faults.refuses(name) && row.some((value) => value?.includes(REFUSED_MARK) === true) ? 'a value it does not take' : null;
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
    const runtime = lifeRuntime(line, { seed: plan.seed, wallSkewMs: () => wallSkewMs + (this.#wallSteps.get(daemon) ?? 0) });
    const sinks = plan.sinks.map((name) => {
      const store = this.#sinks.get(name) as MemorySinkStore;
      const watch: SinkWatch = {
        assigned: (partition) => this.#checkers.assigned(name, life, partition),
        sweepsRead: () => this.#checkers.sweepsRead(name, life),
        progressRead: () => this.#checkers.progressRead(name, life),
      };
      const of = { name, store, batchRowsMax: plan.limits.batchRowsMax, runtime };
      return [name, plan.rowwise?.includes(name) === true ? rowwiseSink(line, of, watch) : lineSink(line, of, watch)] as const;
    });
    const logWatcher: LogWatcher = {
      released: (sink, partition, releases) => {
        this.#coverage.add('keys released', releases.length);
        this.#checkers.released(sink, { life, partition }, releases);
      },
      committed: (...of) => this.#checkers.committed(...of),
    };
    const store = this.#logStore;
    const member = (consumer: string): LogReader =>
      groupReader({ line, store, consumer, coordinator: this.#groups.of(consumer), watcher: logWatcher, runtime });
    const process = startProcess({
      plan,
      life,
      runtime,
      logger: this.#trace.lines === null ? silentLogger : tracingLogger((text) => this.#say(text, life)),
      control: lineControl(line, this.#controlRows),
      source: lineSource(
        line,
        { database: this.#database, readMs: plan.loads?.readMs ?? 0 },
        {
          told: (position) => this.#checkers.told(position),
          acknowledged: (position) => {
            this.#say(`acknowledges ${position}`, life);
            this.#checkers.acknowledged(position);
          },
        },
      ),
      log: lineLog(line, store, logWatcher, store.sharesPartitions ? member : null),
      sinks: new Map(sinks),
      parkedKeysMax: this.#faults.parkedKeysMax,
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
    if (!this.#faults.allows(code)) this.#scene.fail('stop', `a loop stands with ${code}, which nothing here is a reason for`);
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
      for (const [sink, status] of statuses) this.#checkers.reported(sink, life, status);
    }
    const approved = this.#operator.approve();
    if (approved > 0) this.#coverage.add('schemas approved', approved);
    const { quietAtMs } = this.#faults;
    if (nowMs >= quietAtMs && this.#faults.haveStruck()) {
      this.#loads.rest();
      // Twice in a row: what the last row that a sink was given releases may still be on its way.
      const settled = this.#begun && this.#isSettled();
      if (settled && this.#wasSettled) this.#end = 'settled';
      else if (this.#begun && this.#isStopped()) this.#end = 'stopped';
      else if (nowMs > quietAtMs + SETTLE_MS_MAX || this.#loop.fired > EVENTS_MAX)
        this.#scene.fail('end', `nothing is settled after a long time: ${this.#standing()}`);
      this.#wasSettled = settled;
    }
    this.#loop.in(LOOK_MS, () => this.#look());
  }

  #isSettled(): boolean {
    const { truth } = this.#scene;
    truth.catchUp();
    const last = watermarkSequence(EPOCH_FIRST, truth.lastCommit);
    return (
      !this.#operator.waiting &&
      this.#loads.isOver &&
      this.#plan.sinks.every((sink) => this.#isWorkedOn(sink) && this.#hasLoadsClosed(sink)) &&
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

  #hasLoadsClosed(sink: string): boolean {
    return [...(this.#sinks.get(sink)?.progress.values() ?? [])].every(({ openLoads }) => openLoads.length === 0);
  }

  /**
   * False while a worker waits whether another one, which may be gone, moves its partition: what was sent again then waits too, and
   * a key that it parks again with it.
   */
  #isWorkedOn(sink: string): boolean {
    const running = new Set<number>();
    for (const { life, statuses } of this.#processes.values()) {
      if (life.dead || life.held) continue;
      for (const { partition, state, offset } of statuses.get(sink)?.().partitions ?? []) {
        // One that reads a stretch again can still park what it then releases.
        if (state === 'running' && (offset ?? 0) >= this.#logStore.endOf(partition)) running.add(partition);
      }
    }
    return running.size === this.#plan.partitions;
  }

  #isStopped(): boolean {
    const { terminal } = this.#faults;
    if (terminal === null) return false;
    const codes: ReadonlySet<string> = new Set(STOPS[terminal]);
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
}

/** A sink's table that was made before a first start was done again would need its operator for a column of since then. */
function withoutColumns(planned: PlannedTransaction): PlannedTransaction {
  return { ...planned, ops: planned.ops.filter(({ op }) => op !== 'add_column' && op !== 'drop_column') };
}

function tracingLogger(say: (text: string) => void): typeof silentLogger {
  const logger: typeof silentLogger = {
    log: (level, message, fields) => say(`${level} ${message} ${fields === undefined ? '' : JSON.stringify(fields)}`),
    with: () => logger,
  };
  return logger;
}
