import { present } from '#core/assert.ts';
import { controlKeys, type TableRow } from '#core/control-rows.ts';
import { backoffMs, CausewayError, codeOf, policyFor, type ErrorCode } from '#core/errors.ts';
import { addCounts, countsOf, maxCounts, NO_COUNTS, verdictOf, type ReconcileCounts, type ReconcileTable } from '#core/reconcile-row.ts';
import type { RowKey } from '#core/key.ts';
import type { EpochMicros } from '#core/position.ts';
import type { RowReader } from '#core/row-reader.ts';
import { keysOfOneRequest } from '#core/rows-request.ts';
import type { SchemaVersion, TableId, TableSchema } from '#core/schema.ts';
import type { Difference } from '#core/sink.ts';
import { withCauses } from './causes.ts';
import { CloseLooks, publish, type CloseLook } from './close-look.ts';
import type { ReconcileDeps } from './deps.ts';
import { Pace } from './pace.ts';
import type { RunRecord } from './run-record.ts';
import { compareSample } from './sample.ts';
import { compareSince } from './since.ts';
import { SinkStanding } from './standing.ts';
import { compareWhole, type TablePassInput } from './table-pass.ts';

/** What says of one table that it cannot be compared now, and of the others nothing. */
const OF_ONE_TABLE: ReadonlySet<ErrorCode> = new Set([
  'reconcile_inconclusive',
  'source_misconfigured',
  'source_permission',
  'log_offset_gone',
  'sink_misconfigured',
  'schema_blocked',
  'source_table_refused',
  'value_refused',
]);

/** A run begins with a sink that is no further behind: it takes seconds until an idle pipeline tells that it is not behind at all. */
const BEHIND_MICROS = 30_000_000;

const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 10_000;

export type ReconcileSignals = {
  /** Ends the run where it is: it can be resumed. */
  readonly stop: AbortSignal;
  /** Aborts when the time that a run may take is over. */
  readonly timeUp: AbortSignal;
};

/**
 * Compares the tables of the run that were not compared yet, some at once, and stores verdict and counts. Differences stand at the
 * sink. Errors: `lease_lost`, those of source, sink, log and control store that last longer than patience.
 */
export async function reconcile(deps: ReconcileDeps, record: RunRecord, { stop, timeUp }: ReconcileSignals): Promise<void> {
  const failure = new AbortController();
  const signal = AbortSignal.any([stop, timeUp, failure.signal]);
  const run = new Run(deps, record);
  const left = record.row.tables.filter(({ state }) => state !== 'compared' && state !== 'inconclusive').map(({ table }) => table);
  const work = async (lane: number): Promise<void> => {
    for (let table = left.shift(); table !== undefined; table = left.shift()) await run.table({ table, lane }, signal);
  };
  try {
    const lanes = Array.from({ length: deps.options.tablesAtOnce }, (_, lane) => lane);
    await Promise.all(
      lanes.map((lane) =>
        work(lane).catch((error: unknown) => {
          failure.abort(error);
          throw error;
        }),
      ),
    );
  } catch (error) {
    if (stop.aborted || !timeUp.aborted) throw failure.signal.aborted ? failure.signal.reason : error;
  }
  await record.change({ state: 'ended', endedAtWallMs: deps.runtime.wallMs(), verdict: verdictOf(record.row) }, stop);
}

type LaneTable = { readonly table: TableId; readonly lane: number };

class Run {
  readonly #deps: ReconcileDeps;
  readonly #record: RunRecord;
  readonly #standing: SinkStanding;
  readonly #pace: Pace;
  readonly #schemas = new Map<SchemaVersion, TableSchema>();
  #reaching: Promise<void> | null = null;
  #repaired: number;
  readonly #kept: Record<Difference['kind'], number> = { missing: 0, extra: 0, mismatched: 0 };

  constructor(deps: ReconcileDeps, record: RunRecord) {
    this.#deps = deps;
    this.#record = record;
    this.#standing = new SinkStanding(deps);
    this.#pace = new Pace(deps.runtime, deps.options.rowsPerSecondMax);
    this.#repaired = countsOf(record.row).repaired;
    for (const { counts } of record.row.tables) for (const kind of kinds) this.#kept[kind] += counts[kind];
  }

  /** Goes on where a lost connection left it, for as long as patience lasts without any way being made. */
  async table({ table, lane }: LaneTable, signal: AbortSignal): Promise<void> {
    const { runtime, options, logger } = this.#deps;
    let movedAtMs = runtime.monotonicMs();
    let place = this.#record.table(table).place;
    for (let failures = 0; ; failures += 1) {
      try {
        await this.#compare({ table, lane }, signal);
        return;
      } catch (error) {
        signal.throwIfAborted();
        const code = codeOf(error);
        if (OF_ONE_TABLE.has(code) && error instanceof Error) {
          await this.#record.changeTable(table, { state: 'inconclusive', reason: error.message }, signal);
          return;
        }
        const now = this.#record.table(table).place;
        if (now !== place) {
          movedAtMs = runtime.monotonicMs();
          failures = 0;
        }
        place = now;
        const isOver = runtime.monotonicMs() - movedAtMs >= options.patienceMs;
        if (policyFor(code).retry !== 'timed' || isOver) throw error;
        logger.log('warn', 'the comparison goes on as soon as everything answers', { table, code });
        await runtime.sleep(
          backoffMs({ attempt: failures, firstMs: RETRY_FIRST_MS, maxMs: RETRY_MAX_MS, random: runtime.random() }),
          signal,
        );
      }
    }
  }

  async #compare({ table, lane }: LaneTable, signal: AbortSignal): Promise<void> {
    const { deps, record } = { deps: this.#deps, record: this.#record };
    const row = await this.#tableRow(table, signal);
    await this.#assertComparable(table, row, signal);
    const before = record.table(table);
    // Without a place the table begins anew, and so do its counts.
    const begun: ReconcileTable = { ...before, state: 'running', counts: before.place === null ? NO_COUNTS : before.counts };
    await using rows = deps.source.rows();
    await this.#reachCut(table, rows, signal);
    const newest = row?.schemas.at(-1);
    const schemaDifferences = newest === undefined ? [] : await deps.sink.differences({ ...newest, companions: row?.companions }, signal);
    await record.changeTable(table, { ...begun, schemaDifferences }, signal);
    const counts = new Counts(begun.counts);
    const foundBefore = before.foundSince ?? NO_COUNTS;
    const looks = new CloseLooks({ deps, standing: this.#standing, rows, lane });
    const input: TablePassInput = {
      deps,
      standing: this.#standing,
      pace: this.#pace,
      look: async (keys, inner) => {
        const look = await looks.look(table, keys, inner);
        await this.#keep(table, look, inner);
        counts.add(look);
        // A run that ends before the next place has found it all the same.
        if (look.differences.length > 0) await record.changeTable(table, { foundSince: maxCounts(counts.since, foundBefore) }, inner);
        counts.repaired(await this.#repair({ table, lane }, look, inner));
      },
      onPlace: async (place, scanned) =>
        record.changeTable(table, { place, counts: counts.placed(scanned), foundSince: NO_COUNTS }, signal),
    };
    const scanned = await this.#rowsOf(input, begun, signal);
    await record.changeTable(table, { state: 'compared', place: null, counts: counts.placed(scanned), foundSince: NO_COUNTS }, signal);
  }

  async #rowsOf(input: TablePassInput, table: ReconcileTable, signal: AbortSignal): Promise<number> {
    const { sample, since } = this.#record.row.selection;
    if (since !== null) return await compareSince(input, { table: table.table, cut: since.cut }, signal);
    if (sample !== null) return await compareSample(input, { table: table.table, share: sample }, signal);
    return await compareWhole(input, table, signal);
  }

  async #tableRow(table: TableId, signal: AbortSignal): Promise<TableRow | null> {
    const { control, pipeline } = this.#deps;
    const stored = await control.get(controlKeys.table(pipeline, table), signal);
    const row = stored === null ? null : (stored.value as TableRow);
    for (const schema of row?.schemas ?? []) this.#schemas.set(schema.version, schema);
    return row;
  }

  async #assertComparable(table: TableId, row: TableRow | null, signal: AbortSignal): Promise<void> {
    if (row === null || row.state === 'stopped') {
      const why = row?.reason?.text;
      throw new CausewayError('reconcile_inconclusive', `its changes are not captured${why === undefined ? '' : `: ${why}`}`);
    }
    if (await this.#standing.isLoading(table, signal)) {
      throw new CausewayError('reconcile_inconclusive', 'it is being loaded: `causeway snapshot progress --watch` shows how far');
    }
  }

  /**
   * A sink that is far behind is waited for: nearly every row would be looked at closely otherwise. One that does not get there says so for
   * every table; what only this table says is of this table.
   */
  async #reachCut(table: TableId, rows: RowReader, signal: AbortSignal): Promise<void> {
    const nothing = { table, range: { tag: 'keys', keys: [] }, rowsMax: 1, bytesMax: 1, accepts: () => true } as const;
    const { readAt } = present(await rows.read(nothing, signal), 'a read that accepts every snapshot');
    this.#reaching ??= this.#standing.hasTaken((readAt - BEHIND_MICROS) as EpochMicros, signal).catch((error: unknown) => {
      if (codeOf(error) !== 'reconcile_inconclusive') this.#reaching = null;
      throw error;
    });
    await this.#reaching;
    if (this.#record.row.cutAt === null) await this.#record.change({ cutAt: readAt }, signal);
  }

  async #keep(table: TableId, { differences }: CloseLook, signal: AbortSignal): Promise<void> {
    if (differences.length === 0) return;
    if (await this.#standing.isLoading(table, signal)) {
      throw new CausewayError('reconcile_inconclusive', 'a load of it began meanwhile');
    }
    const kept = differences.filter(({ kind }) => {
      this.#kept[kind] += 1;
      return this.#kept[kind] <= this.#deps.options.keptPerKind;
    });
    if (kept.length === 0) return;
    const explained = await withCauses(this.#deps, { differences: kept, schemas: this.#schemas }, signal);
    await this.#deps.sink.reports.add(this.#record.row.run, explained, signal);
  }

  /** Returns how many were published. Errors: `refused` above the budget: so many have a cause that a repair does not mend. */
  async #repair({ table, lane }: LaneTable, { differences }: CloseLook, signal: AbortSignal): Promise<number> {
    const { repairMax } = this.#deps.options;
    const keys = differences.flatMap(({ key, cause }) => (cause === 'sequence_ahead' ? [] : [key]));
    if (repairMax === null || keys.length === 0) return 0;
    this.#repaired += keys.length;
    if (this.#repaired > repairMax) {
      throw new CausewayError(
        'refused',
        `more than ${repairMax} differences: look at \`causeway reconcile report\` for their cause, and allow more with --repair-max`,
      );
    }
    for (let rest: readonly RowKey[] = keys; rest.length > 0;) {
      const some = keysOfOneRequest(rest);
      rest = rest.slice(some.length);
      const { high } = await publish(this.#deps, { table, keys: some, lane }, signal);
      await this.#standing.hasPassed(high, signal);
    }
    return keys.length;
  }
}

const kinds = ['missing', 'extra', 'mismatched'] as const;

/** Of a table, as far as its suspects were looked at. */
class Counts {
  #counts: ReconcileCounts;
  #placed: ReconcileCounts;
  readonly #rowsBefore: number;

  constructor(begun: ReconcileCounts) {
    this.#counts = begun;
    this.#placed = begun;
    this.#rowsBefore = begun.rows;
  }

  /** Behind the last place. */
  get since(): ReconcileCounts {
    const { missing, extra, mismatched } = this.#placed;
    const now = this.#counts;
    return { ...NO_COUNTS, missing: now.missing - missing, extra: now.extra - extra, mismatched: now.mismatched - mismatched };
  }

  add({ differences, parked, settled }: CloseLook): void {
    const of = (kind: Difference['kind']): number => differences.filter((one) => one.kind === kind).length;
    const found = { rows: 0, missing: of('missing'), extra: of('extra'), mismatched: of('mismatched'), parked, settled, repaired: 0 };
    this.#counts = addCounts(this.#counts, found);
  }

  repaired(repaired: number): void {
    this.#counts = addCounts(this.#counts, { ...NO_COUNTS, repaired });
  }

  placed(scanned: number): ReconcileCounts {
    this.#placed = { ...this.#counts, rows: this.#rowsBefore + scanned };
    return this.#placed;
  }
}
