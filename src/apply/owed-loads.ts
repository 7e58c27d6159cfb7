import { controlKeys, type SinkRow } from '#core/control-rows.ts';
import { newLoad, type LoadRow } from '#core/load-row.ts';
import type { TableId } from '#core/schema.ts';
import type { ApplyDeps } from './deps.ts';
import { rideOut } from './ride-out.ts';
import { changeSinkRow, readSinkRow } from './sink-row.ts';

/**
 * Asks for the loads that a sink which came later owes itself, and only then forgets that it does; whoever starts it next finds out which
 * were asked for. Only for a known sink: rows that are published before its first progress stands would never reach it.
 */
export async function askForOwed(deps: ApplyDeps, row: SinkRow, signal: AbortSignal): Promise<SinkRow> {
  const { owes = [] } = row;
  if (owes.length === 0) return row;
  for (const table of owes) await rideOut(deps, () => askFor(deps, { table, owner: row.owner }, signal), { signal });
  deps.logger.log('info', 'asked for the rows that the sink lacks: see `causeway snapshot progress`', { tables: owes.length });
  const asked = ({ owes: _, ...rest }: SinkRow): SinkRow => rest;
  const change = (now: SinkRow): SinkRow | null => (now.owes === undefined || now.owner !== row.owner ? null : asked(now));
  return rideOut(deps, () => changeSinkRow(deps, change, signal), { signal });
}

/** A load that bears the sink's owner is its own, however far it is by now. Any other is of an earlier sink with the name, and begins anew. */
async function askFor(deps: ApplyDeps, of: { readonly table: TableId; readonly owner: string }, signal: AbortSignal): Promise<void> {
  const { table, owner } = of;
  const key = controlKeys.load(deps.pipeline, table, deps.sinkName);
  while (true) {
    const stored = await deps.control.get(key, signal);
    const now = (stored?.value ?? null) as LoadRow | null;
    if (now?.id === owner) return;
    // Another process of this sink may have asked for all of them since, and a person for the table once more.
    const sink = await readSinkRow(deps, signal);
    if (sink?.row.owner !== owner || sink.row.owes?.includes(table) !== true) return;
    const fresh = newLoad({ id: owner, table, sink: deps.sinkName, rowsExpected: null, wallMs: deps.runtime.wallMs() });
    const value: LoadRow = { ...fresh, generation: now?.generation ?? fresh.generation };
    const swap = await deps.control.swap({ key, value, expected: stored?.version ?? null }, signal);
    if (swap.tag === 'stored') return;
  }
}
