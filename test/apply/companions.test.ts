import { expect, test } from 'vitest';
import { controlKeys, type SinkRow, type TableRow } from '#core/control-rows.ts';
import { compareSchemas, tableSchema, type DescribedTable, type TableCompanions } from '#core/schema.ts';
import { KnownSchemas } from '../../src/apply/catalogue.ts';
import type { ApplyDeps } from '../../src/apply/deps.ts';
import { SchemaGate } from '../../src/apply/schema-gate.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { MemorySink } from '../support/memory-sink.ts';
import { never, schema, textColumn } from './stage.ts';

const companions: TableCompanions = { family: 'postgres', hash: 'h', facts: { indexes: ['one'] } };
const wider = tableSchema({ ...schema, columns: [...schema.columns, textColumn('later')] });

/** Keeps what it was told. */
class ListeningSink extends MemorySink {
  readonly told: (readonly [string, TableCompanions | undefined])[] = [];
  override async provision(...[tables, signal]: Parameters<MemorySink['provision']>): Promise<void> {
    for (const table of tables as readonly DescribedTable[]) this.told.push(['provision', table.companions]);
    await super.provision(tables, signal);
  }
  override async evolve(...[after, change, signal]: Parameters<MemorySink['evolve']>): Promise<void> {
    this.told.push(['evolve', (after as DescribedTable).companions]);
    await super.evolve(after, change, signal);
  }
  override async differences(...[table, signal]: Parameters<MemorySink['differences']>): Promise<readonly string[]> {
    this.told.push(['differences', (table as DescribedTable).companions]);
    return super.differences(table, signal);
  }
}

test('the sink is told what the control store knows of a table besides its schema, which the log does not', async () => {
  const control = new MemoryControlStore();
  const row: TableRow = {
    ...{ table: schema.table, state: 'streaming', reason: null, fingerprint: { hash: 'f', facts: null } },
    ...{ schemas: [schema, wider], companions, reconcileWanted: 0 },
  };
  await control.swap({ key: controlKeys.table('p', schema.table), value: row, expected: null }, never);
  const sink = new ListeningSink();
  const schemas = new KnownSchemas();
  await schemas.load(control, 'p', never);
  // What the gate uses of its surroundings on this way.
  const deps = { sink, control, pipeline: 'p' } as unknown as ApplyDeps;
  const visitor = { met: new Map(), signal: never, whileBlocked: () => Promise.resolve() };
  const gate = new SchemaGate(deps, schemas);
  await gate.provision({ blocked: [] } as unknown as SinkRow, never);
  expect(compareSchemas(schema, wider).tag).toBe('additive');
  await gate.pass(schema, visitor);
  await gate.pass(wider, visitor);
  expect(new Set(sink.told.map(([call]) => call))).toEqual(new Set(['differences', 'provision', 'evolve']));
  expect(sink.told.map(([, told]) => told)).toEqual(sink.told.map(() => companions));

  // A table that only the log has shown is made when its schema passes.
  const later = new ListeningSink();
  await new SchemaGate({ ...deps, sink: later }, schemas).pass(schema, { ...visitor, met: new Map() });
  expect(later.told).toEqual([['provision', companions]]);
});
