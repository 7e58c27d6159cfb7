import type { SinkRow } from '#core/control-rows.ts';
import { brokenInvariantIn } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import { untilBeatMs } from '#core/runtime.ts';
import type { TableId } from '#core/schema.ts';
import type { SinkProgress } from '#core/sink.ts';
import { KnownSchemas } from './catalogue.ts';
import { Bell } from './bell.ts';
import type { SinkContext } from './context.ts';
import { ParkingLimit } from './dead-letter.ts';
import type { ApplyDeps, ApplySignals } from './deps.ts';
import type { ApplyState, ApplyStatus, ParkedStatus, WatermarkPoint } from './observer.ts';
import { PointRepairs, type HeldPartition } from './point-repairs.ts';
import { sinkPosition } from './position.ts';
import { RequestDesk } from './requests.ts';
import { passesByItself, rideOut } from './ride-out.ts';
import { SchemaGate } from './schema-gate.ts';
import { SeenProgress } from './seen.ts';
import { askForOwed } from './owed-loads.ts';
import { awaitSinkRow, makeKnown } from './sink-row.ts';
import { Sweeper } from './sweeper.ts';
import { PartitionWorker } from './worker.ts';

export { applyDefaults } from './deps.ts';
export type { ApplyDeps, ApplyOptions, ApplySignals } from './deps.ts';

/**
 * Applies a pipeline's log to one sink until `stop` (the batch in hand is finished, progress stored) or `kill`. What passes by
 * itself is ridden out inside. Anything else is thrown with its code after the workers have left cleanly; the caller may
 * call again at any time, and it goes on from the sink's own progress.
 */
export async function runApply(deps: ApplyDeps, signals: ApplySignals): Promise<void> {
  const apply = new SinkApply(deps, signals);
  deps.observer.attach(() => apply.status());
  await apply.run();
}

class SinkApply {
  readonly #deps: ApplyDeps;
  readonly #repairs: PointRepairs;
  readonly #kill: AbortSignal;
  /** Aborted by a stop, a kill, or the first error of any part. */
  readonly #leave: AbortSignal;
  readonly #failure = new AbortController();
  readonly #workers = new Map<number, PartitionWorker>();
  /** What works on each partition, until the last of it has left. */
  readonly #running = new Map<number, Promise<void>>();
  #context: SinkContext | null = null;
  #sweeper: Sweeper | null = null;
  #position: WatermarkPoint | null = null;
  #phase: 'waiting' | 'starting' | 'running' | 'stopped' = 'waiting';
  #firstError: { readonly error: unknown } | null = null;

  constructor(deps: ApplyDeps, signals: ApplySignals) {
    this.#deps = deps;
    this.#repairs = new PointRepairs(deps);
    this.#kill = signals.kill;
    this.#leave = AbortSignal.any([signals.stop, signals.kill, this.#failure.signal]);
  }

  async run(): Promise<void> {
    try {
      await this.#guard(() => this.#run());
    } finally {
      this.#phase = 'stopped';
    }
    if (this.#firstError !== null) throw this.#firstError.error;
  }

  status(): ApplyStatus {
    const workers = [...this.#workers.values()].sort((a, b) => a.partition - b.partition);
    const position = this.#readPosition();
    const loading = this.#loading();
    return {
      sink: this.#deps.sinkName,
      state: this.#state(workers),
      partitions: workers.map((worker) => worker.status()),
      position,
      watermark: this.#isAllLoading(loading) ? null : position,
      loading,
      parked: parkedOf(workers),
      blocked: this.#context?.gate.blocked ?? [],
      inFlightRows: workers.reduce((sum, worker) => sum + worker.inFlightRows, 0),
    };
  }

  async #run(): Promise<void> {
    const deps = this.#deps;
    const leave = this.#leave;
    const schemas = new KnownSchemas();
    const registered = await rideOut(deps, () => awaitSinkRow(deps, schemas, leave), { signal: leave });
    if (registered.state === 'resync_required') throw resyncRequired(deps, registered);
    this.#phase = 'starting';
    const gate = new SchemaGate(deps, schemas);
    const claim = { owner: registered.owner, known: registered.state === 'known' };
    // Before anything of the sink is made or read: another deployment with the same names would be taken for an earlier run.
    await rideOut(deps, () => deps.sink.claim(claim, leave), { signal: leave });
    const load = async (): Promise<void> => {
      await deps.log.prepareConsumer(deps.sinkName, { known: claim.known }, leave);
      await schemas.load(deps.control, deps.pipeline, leave);
      await gate.provision(registered, leave);
    };
    await rideOut(deps, load, { signal: leave });
    const known = registered.state === 'new' ? await makeKnown(deps, registered, leave) : registered;
    const row = await askForOwed(deps, known, leave);
    const desk = new RequestDesk(deps);
    const limit = new ParkingLimit(deps.options.parkedKeysMax);
    const context: SinkContext = {
      deps,
      row,
      schemas,
      gate,
      desk,
      limit,
      seen: new SeenProgress(),
      swept: new Map(),
      truncates: new Bell(),
    };
    this.#context = context;
    const sweeper = new Sweeper(context, { standings: () => this.#standings(), onLook: () => void this.#readPosition() });
    this.#sweeper = sweeper;
    // Requests come before the first batch: they may be what lets a sink with too many parked keys go on.
    await this.#lookForRequests(desk);
    this.#phase = 'running';
    await Promise.all([
      this.#guard(() => this.#assign(context)),
      this.#guard(() => sweeper.run(leave)),
      this.#guard(() => this.#pollRequests(desk)),
    ]);
  }

  async #assign(context: SinkContext): Promise<void> {
    const deps = this.#deps;
    const leave = this.#leave;
    const running = new Set<Promise<void>>();
    try {
      await using reader = await rideOut(deps, () => deps.log.reader(deps.sinkName, leave), { signal: leave });
      try {
        // Its error makes the workers leave, which are waited for.
        await this.#guard(async () => {
          for await (const assignment of reader.assignments(leave)) {
            const worker = new PartitionWorker(context, assignment);
            const work = this.#guard(() => this.#work(worker));
            this.#running.set(worker.partition, work);
            const settled = work.finally(() => void running.delete(settled));
            running.add(settled);
          }
        });
      } finally {
        // The reader is closed only after its partitions were left, so that their last progress can be committed.
        await Promise.all(running);
      }
    } finally {
      await Promise.all(running);
    }
  }

  async #work(worker: PartitionWorker): Promise<void> {
    // A partition that was taken away can come back before its worker has left: its batch may still be at the sink, and its keys count.
    await this.#running.get(worker.partition);
    this.#workers.set(worker.partition, worker);
    try {
      await worker.run({ leave: this.#leave, kill: this.#kill });
    } finally {
      const gone = !this.#leave.aborted && this.#workers.get(worker.partition) === worker;
      if (gone) this.#workers.delete(worker.partition);
    }
  }

  async #pollRequests(desk: RequestDesk): Promise<void> {
    const { runtime, options } = this.#deps;
    while (!this.#leave.aborted) {
      await runtime.sleep(untilBeatMs(options.controlPollMs, runtime.monotonicMs()), this.#leave);
      await this.#lookForRequests(desk);
      for (const worker of this.#workers.values()) if (desk.waitsFor(worker.partition)) worker.wake();
    }
  }

  /** Apply goes on while the control store cannot be reached: requests wait. */
  async #lookForRequests(desk: RequestDesk): Promise<void> {
    try {
      const requests = await desk.look(this.#leave);
      await this.#repairs.look(requests, this.#heldPartitions(), this.#leave);
    } catch (error) {
      if (this.#leave.aborted || !passesByItself(error)) throw error;
    }
  }

  /**
   * Keeps the first error and makes every other part leave. What is thrown because of a signal is no error. A broken invariant goes
   * before any other: the others are states of the sink.
   */
  async #guard(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const isBroken = brokenInvariantIn(error) !== null;
      if (this.#leave.aborted && !isBroken) return;
      if (isBroken || this.#firstError === null) this.#firstError = { error };
      this.#failure.abort(error);
    }
  }

  #heldPartitions(): readonly HeldPartition[] {
    return [...this.#workers.values()].flatMap(({ partition, done, parked }) =>
      done === null ? [] : [{ partition, watermark: done.watermark?.sequence ?? null, awaiting: parked.awaitingBase() }],
    );
  }

  #standings(): ReadonlyMap<number, SinkProgress> {
    const standings = new Map<number, SinkProgress>();
    for (const { partition, done } of this.#workers.values()) {
      if (done !== null && this.#context?.seen.isDoubtful(partition) !== true) standings.set(partition, done);
    }
    return standings;
  }

  #readPosition(): WatermarkPoint | null {
    if (this.#sweeper === null) return this.#position;
    for (const worker of this.#workers.values()) {
      if (!worker.wentBack) continue;
      // Until the partition is held again, here or elsewhere, nobody knows how far the sink is.
      if (worker.done !== null || worker.isFenced) worker.wentBack = false;
      this.#position = null;
      this.#sweeper.forget();
    }
    if (this.#context?.seen.takeLoss() === true) {
      this.#position = null;
      this.#sweeper.forget();
      for (const worker of this.#workers.values()) worker.wake();
    }
    const owed = this.#sweeper.owed();
    // A sweep that had been completed is not there any more: the sink went back, though no partition has shown it.
    const reported = this.#position;
    if (reported !== null && owed.some((floor) => floor.sequence <= reported.sequence)) this.#position = null;
    this.#position = sinkPosition({ reported: this.#position, standings: this.#sweeper.all(), pending: owed });
    return this.#position;
  }

  /** What the position claims is true of tables that are not being loaded, where there is one. */
  #isAllLoading(loading: readonly TableId[]): boolean {
    const tables = this.#context?.schemas.captured() ?? [];
    return tables.length > 0 && tables.every((table) => loading.includes(table));
  }

  /** Tables of which some partition has not met the end of a load, here or elsewhere. */
  #loading(): readonly TableId[] {
    const standings = this.#sweeper?.all() ?? [];
    return [...new Set(standings.flatMap((standing) => standing?.openLoads ?? []).map(({ table }) => table))];
  }

  #state(workers: readonly PartitionWorker[]): ApplyState {
    if (this.#phase === 'stopped') return 'stopped';
    if (this.#leave.aborted) return 'stopping';
    if (this.#phase !== 'running') return this.#phase;
    const states = new Set(workers.map((worker) => worker.status().state));
    if (states.has('blocked')) return 'blocked';
    if (states.has('retrying')) return 'retrying';
    return states.has('running') || workers.length === 0 ? 'running' : 'starting';
  }
}

function parkedOf(workers: readonly PartitionWorker[]): ParkedStatus {
  let all: ParkedStatus = { keys: 0, awaitingRepair: 0, oldestSequence: null, oldestCommittedAt: null };
  for (const one of workers.map((worker) => worker.parked.status())) {
    const isOlder = one.oldestSequence !== null && (all.oldestSequence === null || one.oldestSequence < all.oldestSequence);
    const keys = all.keys + one.keys;
    all = { ...(isOlder ? one : all), keys, awaitingRepair: all.awaitingRepair + one.awaitingRepair };
  }
  return all;
}

function resyncRequired(deps: ApplyDeps, row: SinkRow): CausewayError {
  return new CausewayError(
    'sink_unknown_progress',
    `the sink ${deps.sinkName} has to be loaded again: ${row.reason?.text ?? 'no reason was kept'}`,
  );
}
