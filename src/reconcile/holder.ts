import { controlKeys, type RequestRow } from '#core/control-rows.ts';
import type { ControlKey, ControlRow, ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import type { RowsAnswer, RowsRequestArgs } from '#core/rows-request.ts';
import type { ReconcileDeps } from './deps.ts';

/**
 * Asks the capture holder, which alone knows what the stream has shown, and waits for its answer. One request of a lane
 * is open at a time, so what an ended run left behind is overwritten. Errors: `reconcile_inconclusive` where nobody answers, or what is
 * asked for cannot be read; `lease_lost` where another run asks in our place.
 */
export async function askHolder(
  deps: ReconcileDeps,
  of: { readonly lane: number; readonly args: RowsRequestArgs },
  signal: AbortSignal,
): Promise<RowsAnswer> {
  const { control, runtime, pipeline, sinkName, options } = deps;
  const { args } = of;
  const key = controlKeys.reconcileRequest(pipeline, sinkName, of.lane);
  await put(control, { key, args }, signal);
  const startedAt = runtime.monotonicMs();
  while (true) {
    const stored = await control.get(key, signal);
    const request = ownIn(stored, args);
    if (request.state === 'failed')
      throw new CausewayError('reconcile_inconclusive', request.result ?? 'the capture holder could not read the keys');
    const { answer } = request.args as RowsRequestArgs;
    if (request.state === 'done' && answer !== undefined) {
      if (stored !== null) await control.remove(key, stored.version, signal);
      return answer;
    }
    if (runtime.monotonicMs() - startedAt >= options.patienceMs) {
      throw new CausewayError(
        'reconcile_inconclusive',
        'no daemon that captures answered, and differences are confirmed by it: `causeway lease list` shows whether one runs',
      );
    }
    await runtime.sleep(options.pollMs, signal);
  }
}

/** The salt is another one for each request. */
function ownIn(stored: ControlRow | null, { salt }: RowsRequestArgs): RequestRow {
  const request = stored === null ? null : (stored.value as RequestRow);
  if (request !== null && (request.args as RowsRequestArgs).salt === salt) return request;
  throw new CausewayError('lease_lost', 'another reconciliation of the sink asks the capture holder in our place');
}

async function put(
  control: ControlStore,
  of: { readonly key: ControlKey; readonly args: RowsRequestArgs },
  signal: AbortSignal,
): Promise<void> {
  const row: RequestRow = { kind: 'rows', args: of.args, state: 'pending', result: null };
  while (true) {
    const stored = await control.get(of.key, signal);
    const swap = await control.swap({ key: of.key, value: row, expected: stored?.version ?? null }, signal);
    if (swap.tag === 'stored') return;
  }
}
