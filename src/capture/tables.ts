import { controlKeys, type TableFingerprint, type TableRow } from '#core/control-rows.ts';
import type { TableCompanions, TableId, TableSchema } from '#core/schema.ts';
import type { CapturedTable, FingerprintVerdict, RefusedTable, SourceFacts } from '#core/source.ts';
import { changeRow, listRows, removeRow, type ControlAccess } from './control-rows.ts';
import type { CaptureObserver } from './observer.ts';

export type TablesInput = {
  readonly access: ControlAccess;
  readonly pipeline: string;
  readonly observer: CaptureObserver;
  readonly snapshotNever: (table: TableId) => boolean;
  readonly compareFingerprints: (stored: TableFingerprint, current: TableFingerprint) => FingerprintVerdict;
};

/** The tables' rows in the control store: state, fingerprint and live schema versions. Changes of them wait for each other. */
export class Tables {
  readonly #input: TablesInput;
  readonly #rows = new Map<TableId, TableRow>();
  #last: Promise<unknown> = Promise.resolve();

  constructor(input: TablesInput) {
    this.#input = input;
  }

  get rows(): readonly TableRow[] {
    return [...this.#rows.values()];
  }

  /** Every version of a captured table that may still stand in the log. */
  get liveSchemas(): readonly TableSchema[] {
    return this.rows.filter(({ state }) => state !== 'stopped').flatMap(({ schemas }) => schemas);
  }

  captures(table: TableId): boolean {
    const row = this.#rows.get(table);
    return row !== undefined && row.state !== 'stopped';
  }

  /** False where the version has to be stored before a change of it is published. */
  remembers(schema: TableSchema): boolean {
    const row = this.#rows.get(schema.table);
    return row === undefined || row.schemas.some(({ version }) => version === schema.version);
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
          return { ...current, schemas: [...current.schemas, schema] };
        },
        signal,
      );
    });
  }

  /** Stores that the stream leaves the table out from here on. */
  stopped(of: { readonly table: TableId; readonly reason: string }, signal: AbortSignal): Promise<void> {
    return this.#alone(async () => {
      if (this.captures(of.table)) await this.#stop(of.table, { code: 'table_stopped', text: of.reason }, signal);
      this.#input.observer.tables(this.rows);
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

  /** Compares what the source shows now with what is stored, and stores the differences with the states that they cause. */
  observe(facts: SourceFacts, signal: AbortSignal): Promise<void> {
    return this.#alone(async () => {
      const { observer, snapshotNever } = this.#input;
      const refused = new Map<TableId, RefusedTable>(facts.refused.map((table) => [table.table, table]));
      const found = new Set<TableId>();
      for (const captured of facts.tables) {
        const { table } = captured.schema;
        found.add(table);
        if (this.#rows.has(table)) await this.#compare(captured, signal);
        else if (snapshotNever(table)) await this.#change(table, (current) => (current === null ? freshRow(captured) : null), signal);
        else refused.set(table, notLoaded(table));
      }
      for (const { table, state } of this.rows) {
        if (!found.has(table) && state !== 'stopped') await this.#stop(table, reasonOf(refused.get(table)), signal);
      }
      observer.refused([...refused.values()]);
      observer.tables(this.rows);
    });
  }

  async #compare(captured: CapturedTable, signal: AbortSignal): Promise<void> {
    const { compareFingerprints, observer } = this.#input;
    const { fingerprint, schema, companions } = captured;
    const known = this.#rows.get(schema.table);
    if (known?.fingerprint.hash === fingerprint.hash && !isOtherCompanions(known, companions)) return;
    const seen: { verdict: FingerprintVerdict | null } = { verdict: null };
    await this.#change(
      schema.table,
      (current) => {
        if (current === null) return null;
        const other = isOtherCompanions(current, companions);
        const row = other ? { ...current, companions } : current;
        if (current.fingerprint.hash === fingerprint.hash) return other ? row : null;
        seen.verdict = compareFingerprints(current.fingerprint, fingerprint);
        return judged(row, fingerprint, seen.verdict);
      },
      signal,
    );
    const { verdict } = seen;
    if (verdict !== null && verdict.tag !== 'same') observer.fingerprint({ table: schema.table, verdict: verdict.tag, text: verdict.text });
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
    const row = await changeRow<TableRow>(access, { key: controlKeys.table(pipeline, table), change }, signal);
    if (row === null) this.#rows.delete(table);
    else this.#rows.set(table, row);
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

function reasonOf(refused: RefusedTable | undefined): { readonly code: string; readonly text: string } {
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

function notLoaded(table: TableId): RefusedTable {
  return {
    table,
    code: 'table_not_loaded',
    reason: 'the table appeared after the pipeline had started, and its rows were not copied',
    mend: `copy its rows while it is not written to, then set \`snapshot: never\` for ${table}`,
  };
}
