// What capture tells in the daemon's log.
import { expect, test } from 'vitest';
import { policyFor, type ErrorCode } from '#core/errors.ts';
import { Ground } from './pipeline-ground.ts';

test('why a table is not captured is a reason; a code is always one of the list of errors', async () => {
  const ground = new Ground();
  await ground.clock.advance(5_000);
  ground.database.alterTable(ground.table, { verdict: { tag: 'resync_required', text: 'its columns changed' } });
  ground.database.createTable('public.later');
  await ground.clock.advance(30_000);
  const reasons = ground.logger.lines.flatMap(({ fields }) => fields['reason'] ?? []);
  expect(reasons).toContain('fingerprint: its columns changed');
  expect(reasons).toContainEqual(expect.stringMatching(/^table_not_loaded: /));
  const codes = ground.logger.lines.flatMap(({ fields }) => fields['code'] ?? []);
  for (const code of codes) expect(policyFor(code as ErrorCode)).toBeDefined();
  await ground.end();
});
