import { expect, test } from 'vitest';
import { CausewayError } from '#core/errors.ts';
import { refuseOwnWrites } from '../../src/runtime/own-writes.ts';

const signal = new AbortController().signal;
const named = (name: string): { readonly database: () => Promise<string> } => ({ database: () => Promise.resolve(name) });
const tables = [{ pattern: 'public.*', snapshot: 'initial' as const, target: null }];

test('a sink that is the source itself is refused, unless its tables are others', async () => {
  const same = { source: named('system/1'), sink: named('system/1'), sinkName: 'copy' };
  await expect(refuseOwnWrites({ ...same, tables }, signal)).rejects.toMatchObject({ code: 'sink_misconfigured' });
  await refuseOwnWrites({ ...same, tables: tables.map((entry) => ({ ...entry, target: 'copy.*' })) }, signal);
  await refuseOwnWrites({ ...same, sink: named('system/2'), tables }, signal);
  await refuseOwnWrites({ ...same, sink: {}, tables }, signal);
});

test('a source that does not answer keeps no sink from going on', async () => {
  const away = { database: () => Promise.reject(new CausewayError('source_unavailable', 'it is down')) };
  await refuseOwnWrites({ source: away, sink: named('system/1'), sinkName: 'copy', tables }, signal);
  const defect = { database: () => Promise.reject(new TypeError('a defect')) };
  await expect(refuseOwnWrites({ source: defect, sink: named('system/1'), sinkName: 'copy', tables }, signal)).rejects.toThrow(TypeError);
});
