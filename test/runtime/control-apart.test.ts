import { expect, test } from 'vitest';
import { CausewayError } from '#core/errors.ts';
import { refuseSharedDatabase } from '../../src/runtime/control-apart.ts';

const signal = new AbortController().signal;
const named = (name: string): { readonly database: () => Promise<string> } => ({ database: () => Promise.resolve(name) });
const failing = (error: Error): { readonly database: () => Promise<string> } => ({ database: () => Promise.reject(error) });

test('a control store in the database of a source or a sink is refused', async () => {
  const what = 'the source';
  await expect(refuseSharedDatabase({ control: named('7/1'), other: named('7/1'), what }, signal)).rejects.toMatchObject({
    code: 'control_misconfigured',
    message: expect.stringContaining('the database of the source') as string,
  });
  await refuseSharedDatabase({ control: named('7/1'), other: named('7/2'), what }, signal);
  await refuseSharedDatabase({ control: { database: () => Promise.resolve(null) }, other: named('7/1'), what }, signal);
  await refuseSharedDatabase({ control: {}, other: named('7/1'), what }, signal);
  await refuseSharedDatabase({ control: named('7/1'), other: {}, what }, signal);
});

test('what does not answer proves nothing, a control store that does not answer is waited for', async () => {
  const away = failing(new CausewayError('source_unavailable', 'it is down'));
  await refuseSharedDatabase({ control: named('7/1'), other: away, what: 'the source' }, signal);
  await refuseSharedDatabase({ control: { database: () => Promise.resolve(null) }, other: away, what: 'the source' }, signal);
  const silent = failing(new CausewayError('control_unavailable', 'it is down'));
  await expect(refuseSharedDatabase({ control: silent, other: named('7/1'), what: 'the source' }, signal)).rejects.toMatchObject({
    code: 'control_unavailable',
  });
  const defect = failing(new TypeError('a defect'));
  await expect(refuseSharedDatabase({ control: named('7/1'), other: defect, what: 'the source' }, signal)).rejects.toThrow(TypeError);
});
