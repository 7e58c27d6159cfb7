import { expect, test } from 'vitest';
import { controlKeys, type TableRow } from '#core/control-rows.ts';
import { positionOf } from '#core/position.ts';
import { tableIdOf, type TableCompanions } from '#core/schema.ts';
import type { SourceFacts } from '#core/source.ts';
import { silentObserver } from '../../src/capture/observer.ts';
import { Tables } from '../../src/capture/tables.ts';
import { contractColumn, contractSchema } from '../contract/sink.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { VirtualClock } from '../support/test-runtime.ts';

const signal = new AbortController().signal;
const table = tableIdOf('public', 'orders');
const schema = contractSchema(table, [contractColumn('id', 'bigint', { tag: 'int', bits: 64, unsigned: false }, false)]);
const told = (hash: string): TableCompanions => ({ family: 'postgres', hash, facts: { hash } });

function factsOf(fingerprint: string, companions?: TableCompanions): SourceFacts {
  const captured = { schema, fingerprint: { hash: fingerprint, facts: null }, holdsRows: false };
  // Only the tables are looked at.
  return { tables: [companions === undefined ? captured : { ...captured, companions }], refused: [] } as unknown as SourceFacts;
}

test('what a table has besides columns and key is kept current, and is never a difference of the fingerprint', async () => {
  const control = new MemoryControlStore();
  const compared: string[] = [];
  const tables = new Tables({
    access: { control, runtime: new VirtualClock(1).runtime, trouble: () => undefined },
    pipeline: 'p',
    observer: silentObserver,
    snapshotNever: () => false,
    comparePositions: () => 0,
    compareFingerprints: (stored, current) => {
      compared.push(`${stored.hash} ${current.hash}`);
      return { tag: 'reconcile', text: 'x' };
    },
  });
  const stored = async (): Promise<TableRow> => (await control.get(controlKeys.table('p', table), signal))?.value as TableRow;
  await tables.startFresh(factsOf('one', told('a')), signal);
  expect((await stored()).companions).toEqual(told('a'));
  const version = (await control.get(controlKeys.table('p', table), signal))?.version;
  await tables.observe(factsOf('one', told('a')), positionOf('1'), signal);
  expect((await control.get(controlKeys.table('p', table), signal))?.version).toBe(version);
  await tables.observe(factsOf('one', told('b')), positionOf('1'), signal);
  expect(await stored()).toMatchObject({ companions: told('b'), state: 'streaming', reconcileWanted: 0 });
  // A source that tells none takes nothing away.
  await tables.observe(factsOf('one'), positionOf('1'), signal);
  expect((await stored()).companions).toEqual(told('b'));
  expect(compared).toEqual([]);
  await tables.observe(factsOf('two', told('c')), positionOf('1'), signal);
  expect(await stored()).toMatchObject({ companions: told('c'), fingerprint: { hash: 'two' }, reconcileWanted: 1 });
  expect(compared).toEqual(['one two']);
  expect((await stored()).schemas).toEqual([schema]);
});
