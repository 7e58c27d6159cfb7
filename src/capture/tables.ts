import { controlKeys, type TableFingerprint, type TableRow } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import type { Position } from '#core/position.ts';
import type { TableCompanions, TableId, TableSchema } from '#core/schema.ts';
import { notLoaded, type CapturedTable, type FingerprintVerdict, type RefusedTable, type Source, type SourceFacts } from '#core/source.ts';
import { changeRow, listRows, removeRow, type ControlAccess } from './control-rows.ts';
import type { CaptureObserver } from './observer.ts';

export type TablesInput = {
  readonly access: ControlAccess;
  readonly pipeline: string;
  readonly observer: CaptureObserver;
  readonly snapshotNever: (table: TableId) => boolean;
  readonly compareFingerprints: Source['compareFingerprints'];
  readonly comparePositions: Source['comparePositions'];
};

/**
 * Versions of a table that the control store keeps. Which of them the log still holds nobody knows but its slowest reader, and a parked
 * key keeps its own for as long as it is parked; so none is dropped before there are far more than a sink can be behind. A sink that is
 * behind all the same stops at the first record that it cannot read; nothing is skipped.
 */
export const VERSIONS_KEPT = 200;

/** When the source was looked at: where its log ended then, and how far the stream was read. */
type Look = { readonly head: Position; readonly reached: Position };

/** A transaction, as its begin names it, and where it ended. */
type Truncate = { readonly by: string; readonly position: Position };

/** The tables' rows in the control store: state, fingerprint and live schema versions. Changes of them wait for each other. */
export class Tables {
  readonly #input: TablesInput;
  readonly #rows = new Map<TableId, TableRow>();
  /** The newest truncate of each table that may not be in its stored fingerprint. */
  readonly #truncates = new Map<TableId, Truncate>();
  /** Tables whose rows lie elsewhere, and where the log ended when that was seen: a truncate up to there would explain it. */
  readonly #moved = new Map<TableId, { readonly hash: string; readonly head: Position }>();
  /** Tables that the stream carries from its next connection on, though they have no row yet. */
  readonly #expected = new Set<TableId>();
  /** Tables whose row is stored and whose changes are still left out. */
  readonly #fresh = new Set<TableId>();
  #last: Promise<unknown> = Promise.resolve();

  constructor(input: TablesInput) {
    this.#input = input;
  }

  get rows(): readonly TableRow[] {
    return [...this.#rows.values()];
  }

  /** Every version of a captured table that may still stand in the log. */
  get liveSchemas(): readonly TableSchema[] {
    return this.rows.filter(({ table }) => this.captures(table)).flatMap(({ schemas }) => schemas);
  }

  captures(table: TableId): boolean {
    const row = this.#rows.get(table);
    return row !== undefined && row.state !== 'stopped' && !this.#fresh.has(table);
  }

  /** True where it has a row, whatever its state is. */
  knows(table: TableId): boolean {
    return this.#rows.has(table);
  }

  /** The stream carries these from its next connection on: then they are captured, each with a load that is open before its first change. */
  expect(tables: readonly TableId[]): void {
    for (const table of tables) this.#expected.add(table);
  }

  /** From here on what has a row is captured. Nothing else may happen before the schemas, and loads that are open, are announced. */
  begin(): void {
    this.#fresh.clear();
  }

  /** False where the version has to be stored before a change of it is published. */
  remembers(schema: TableSchema): boolean {
    const row = this.#rows.get(schema.table);
    return row === undefined || row.state === 'stopped' || row.schemas.some(({ version }) => version === schema.version);
  }

  async load(signal: AbortSignal): Promise<void> {
    const { access, pipeline, observer } = this.#input;
    for (const { value } of await listRows(access, controlKeys.tables(pipeline), signal)) {
      const row = value as TableRow;
      this.#rows.set(row.table, row);
    }
    observer.tables(this.rows);
  }

  /** Stores a version that the stream has just shown. */
  remember(schema: TableSchema, signal: AbortSignal): Promise<void> {
    return this.#alone(async () => {
      await this.#change(
        schema.table,
        (current) => {
          if (current === null || current.schemas.some(({ version }) => version === schema.version)) return null;
          return { ...current, schemas: [...current.schemas, schema].slice(-VERSIONS_KEPT) };
        },
        signal,
      );
    });
  }

  /** The stream has shown a truncate. */
  truncated(tables: readonly TableId[], truncate: Truncate): void {
    for (const table of tables) this.#truncates.set(table, truncate);
  }

  /** Stores that the stream leaves the table out from here on. */
  stopped(of: { readonly table: TableId; readonly reason: string }, signal: AbortSignal): Promise<void> {
    return this.#alone(async () => {
      if (this.captures(of.table)) await this.#stop(of.table, { code: 'table_stopped', text: of.reason }, signal);
      this.#input.observer.tables(this.rows);
    });
  }

  /** Before a connection of the stream: makes the rows of the tables that it carries from here on. */
  adopt(facts: SourceFacts, signal: AbortSignal): Promise<void> {
    return this.#alone(async () => {
      const known = new Set(this.rows.map(({ fingerprint }) => fingerprint.relation));
      for (const captured of facts.tables) {
        const { table } = captured.schema;
        const wasNamed = captured.fingerprint.relation !== undefined && known.has(captured.fingerprint.relation);
        if (this.#expected.has(table) && !this.#rows.has(table) && !wasNamed) await this.#makeFresh(captured, signal);
      }
      this.#expected.clear();
    });
  }

  /** Makes the rows of a pipeline that publishes for the first time, in place of any that an unfinished start left behind. */
  startFresh(facts: SourceFacts, signal: AbortSignal): Promise<void> {
    return this.#alone(async () => {
      const { access, pipeline } = this.#input;
      const captured = new Set(facts.tables.map(({ schema }) => schema.table));
      for (const table of [...this.#rows.keys()].filter((known) => !captured.has(known))) {
        await removeRow(access, controlKeys.table(pipeline, table), signal);
        this.#rows.delete(table);
      }
      for (const found of facts.tables) await this.#change(found.schema.table, () => freshRow(found), signal);
    });
  }

  /**
   * Compares what the source shows now with what is stored, and stores the differences with the states that they cause. `reached`
   * is how far the stream was read.
   */
  observe(facts: SourceFacts, reached: Position, signal: AbortSignal): Promise<void> {
    return this.#alone(async () => {
      const { observer, snapshotNever } = this.#input;
      await this.#restoreVersions(signal);
      const refused = new Map<TableId, RefusedTable>(facts.refused.map((table) => [table.table, table]));
      const found = new Set<TableId>();
      // As they were before this look: another table may have taken a name over.
      const names = new Map<string | null, TableId>(this.rows.map(({ table, fingerprint }) => [fingerprint.relation ?? null, table]));
      names.delete(null);
      const nowCalled = new Map(facts.tables.map(({ schema, fingerprint }) => [fingerprint.relation ?? null, schema.table]));
      nowCalled.delete(null);
      for (const captured of facts.tables) {
        const { table } = captured.schema;
        found.add(table);
        const was = this.#rows.has(table) ? undefined : names.get(captured.fingerprint.relation ?? null);
        if (this.#rows.has(table)) await this.#compare(captured, { head: facts.head, reached }, signal);
        else if (was !== undefined) await this.#change(table, (current) => current ?? renamedRow(captured, was), signal);
        else if (snapshotNever(table)) await this.#makeFresh(captured, signal);
        else refused.set(table, notLoaded(table));
      }
      for (const { table, state, fingerprint } of this.rows) {
        if (found.has(table) || state === 'stopped') continue;
        await this.#stop(table, reasonOf(refused.get(table), nowCalled.get(fingerprint.relation ?? null)), signal);
      }
      observer.refused([...refused.values()]);
      observer.tables(this.rows);
    });
  }

  /**
   * A control store that came back as it was earlier has lost versions of which changes stand in the log: a person who is to approve
   * one could not see it, and a sink that begins behind its `schema` record not read it.
   */
  async #restoreVersions(signal: AbortSignal): Promise<void> {
    const { access, pipeline } = this.#input;
    for (const { value } of await listRows(access, controlKeys.tables(pipeline), signal)) {
      const stored = value as TableRow;
      if (this.#withVersions(stored) !== stored) await this.#change(stored.table, () => null, signal);
    }
  }

  #withVersions(stored: TableRow): TableRow {
    const known = this.#rows.get(stored.table)?.schemas ?? [];
    const lost = known.filter((schema) => !stored.schemas.some(({ version }) => version === schema.version));
    if (lost.length === 0) return stored;
    const newer = stored.schemas.filter((schema) => !known.some(({ version }) => version === schema.version));
    return { ...stored, schemas: [...known, ...newer] };
  }

  /** True while a truncate that the stream has not shown yet may be why the rows lie elsewhere. */
  #isEarly({ schema, fingerprint }: CapturedTable, at: Look): boolean {
    const { hash } = fingerprint;
    const before = this.#moved.get(schema.table);
    const since = before?.hash === hash ? before.head : at.head;
    this.#moved.set(schema.table, { hash, head: since });
    return this.#input.comparePositions(at.reached, since) < 0;
  }

  async #compare(captured: CapturedTable, at: Look, signal: AbortSignal): Promise<void> {
    const { compareFingerprints, comparePositions, observer } = this.#input;
    const { fingerprint, schema, companions } = captured;
    const { table } = schema;
    const known = this.#rows.get(table);
    const truncate = this.#truncates.get(table);
    const isSame = known?.fingerprint.hash === fingerprint.hash;
    // What the source shows now is later than this truncate, so from here on it explains nothing.
    if (truncate !== undefined && comparePositions(truncate.position, at.head) <= 0) this.#truncates.delete(table);
    if (isSame && !isOtherCompanions(known, companions)) return;
    const seen: { verdict: FingerprintVerdict | null } = { verdict: null };
    await this.#change(
      schema.table,
      (current) => {
        if (current === null) return null;
        const other = isOtherCompanions(current, companions);
        const row = other ? { ...current, companions } : current;
        if (current.fingerprint.hash === fingerprint.hash) return other ? row : null;
        const verdict = compareFingerprints(current.fingerprint, fingerprint, truncate?.by ?? null);
        const isEarly = verdict.tag === 'reconcile' && verdict.onlyFiles === true && this.#isEarly(captured, at);
        if (isEarly) return other ? row : null;
        seen.verdict = verdict;
        return judged(row, verdict.keep ?? fingerprint, verdict);
      },
      signal,
    );
    const { verdict } = seen;
    if (verdict !== null) this.#moved.delete(table);
    if (verdict !== null && verdict.tag !== 'same') observer.fingerprint({ table: schema.table, verdict: verdict.tag, text: verdict.text });
  }

  async #makeFresh(captured: CapturedTable, signal: AbortSignal): Promise<void> {
    const { table } = captured.schema;
    this.#fresh.add(table);
    await this.#change(table, (current) => (current === null ? freshRow(captured) : null), signal);
  }

  async #stop(table: TableId, reason: { readonly code: string; readonly text: string }, signal: AbortSignal): Promise<void> {
    await this.#change(
      table,
      (current) => (current === null || current.state === 'stopped' ? null : { ...current, state: 'stopped', reason }),
      signal,
    );
    this.#input.observer.fingerprint({ table, verdict: 'stopped', text: reason.text });
  }

  async #change(table: TableId, change: (current: TableRow | null) => TableRow | null, signal: AbortSignal): Promise<void> {
    const { access, pipeline } = this.#input;
    const changeWhole = (stored: TableRow | null): TableRow | null => {
      const current = stored === null ? null : this.#withVersions(stored);
      return change(current) ?? (current === stored ? null : current);
    };
    const row = await changeRow<TableRow>(access, { key: controlKeys.table(pipeline, table), change: changeWhole }, signal);
    if (row !== null) this.#rows.set(table, row);
    // To go on as if the table were no longer captured would leave its changes out of the log without a word.
    else if (this.#rows.has(table))
      throw new CausewayError('checkpoint_lost', `the row of ${table} was removed from the control store while capture ran`);
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }
}

/** The row after a difference. A state only ever gets graver by itself: a re-sync alone brings a table back. */
export function judged(row: TableRow, fingerprint: TableFingerprint, verdict: FingerprintVerdict): TableRow {
  switch (verdict.tag) {
    case 'same':
    case 'harmless':
      return { ...row, fingerprint };
    case 'reconcile':
      return { ...row, fingerprint, reconcileWanted: row.reconcileWanted + 1 };
    case 'resync_required':
      if (row.state === 'stopped') return { ...row, fingerprint };
      return { ...row, fingerprint, state: 'resync_required', reason: { code: 'fingerprint', text: verdict.text } };
    case 'stopped':
      return { ...row, fingerprint, state: 'stopped', reason: { code: 'fingerprint', text: verdict.text } };
  }
}

function reasonOf(refused: RefusedTable | undefined, newName: TableId | undefined): { readonly code: string; readonly text: string } {
  if (newName !== undefined) return { code: 'table_renamed', text: `the table was renamed to ${newName}` };
  if (refused !== undefined) return { code: refused.code, text: refused.reason };
  return { code: 'table_gone', text: 'the table was dropped, renamed, or is no longer among the captured tables' };
}

/** A source that tells none, such as one of an older release, takes nothing away. */
function isOtherCompanions(row: TableRow, companions: TableCompanions | undefined): boolean {
  return companions !== undefined && companions.hash !== row.companions?.hash;
}

function freshRow({ schema, fingerprint, companions }: CapturedTable): TableRow {
  const row: TableRow = { table: schema.table, state: 'streaming', reason: null, fingerprint, schemas: [schema], reconcileWanted: 0 };
  return companions === undefined ? row : { ...row, companions };
}

/** A table that was captured under another name starts in no way by itself: its rows stand at the sinks under that name. */
function renamedRow(captured: CapturedTable, was: TableId): TableRow {
  const text = `it was captured as ${was} and renamed: its changes are left out since`;
  return { ...freshRow(captured), state: 'stopped', reason: { code: 'table_renamed', text }, schemas: [] };
}
