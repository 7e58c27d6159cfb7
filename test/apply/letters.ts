// What tests of dead letters share.
import { present } from '#core/assert.ts';
import { controlKeys, type RequestRow } from '#core/control-rows.ts';
import { keyOf, never, type Stage } from './stage.ts';

export function refuseBad(stage: Stage): void {
  stage.sinkStore.poison = (_schema, row) => (row.includes('bad') ? 'the sink does not take it' : null);
}

export async function request(stage: Stage, kind: RequestRow['kind'], keys: readonly string[] | null): Promise<() => Promise<RequestRow>> {
  const key = controlKeys.request('p', `${kind} ${String(stage.clock.nowMs)}`);
  const args = { sink: 's', keys: keys?.map((id) => keyOf(id)) ?? null };
  await stage.write(key, { kind, args, state: 'pending', result: null } satisfies RequestRow);
  return async () => present(await stage.control.get(key, never), 'request').value as RequestRow;
}
