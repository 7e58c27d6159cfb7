import { controlKeys } from '#core/control-rows.ts';
import type { ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import type { ReconcileRow, ReconcileTable } from '#core/reconcile-row.ts';
import type { TableId } from '#core/schema.ts';

/** A run's row in the control store, as the holder of the reconciliation's lease writes it. */
export class RunRecord {
  readonly #control: ControlStore;
  readonly #pipeline: string;
  readonly #token: number;
  #row: ReconcileRow;
  #last: Promise<void> = Promise.resolve();

  constructor(of: { readonly control: ControlStore; readonly pipeline: string; readonly row: ReconcileRow; readonly token: number }) {
    this.#control = of.control;
    this.#pipeline = of.pipeline;
    this.#token = of.token;
    this.#row = { ...of.row, token: of.token };
  }

  get row(): ReconcileRow {
    return this.#row;
  }

  table(table: TableId): ReconcileTable {
    const found = this.#row.tables.find((one) => one.table === table);
    if (found === undefined) throw new CausewayError('usage', `${table} is not among the tables of the run`);
    return found;
  }

  async changeTable(table: TableId, change: Partial<ReconcileTable>, signal: AbortSignal): Promise<void> {
    const tables = this.#row.tables.map((one) => (one.table === table ? { ...one, ...change } : one));
    await this.change({ tables }, signal);
  }

  /** Stored when it resolves, with what was changed meanwhile. Errors: `lease_lost` where a later holder has written it. */
  async change(change: Partial<ReconcileRow>, signal: AbortSignal): Promise<void> {
    this.#row = { ...this.#row, ...change };
    const stored = this.#last.then(() => this.#store(signal));
    this.#last = stored.catch(() => undefined);
    await stored;
  }

  async #store(signal: AbortSignal): Promise<void> {
    const row = this.#row;
    const key = controlKeys.reconcile(this.#pipeline, row.sink, row.run);
    while (true) {
      const stored = await this.#control.get(key, signal);
      const token = stored === null ? 0 : (stored.value as ReconcileRow).token;
      if (token > this.#token) throw new CausewayError('lease_lost', `the run ${row.run} was taken up by another process`);
      const swap = await this.#control.swap({ key, value: row, expected: stored?.version ?? null }, signal);
      if (swap.tag === 'stored') return;
    }
  }
}
