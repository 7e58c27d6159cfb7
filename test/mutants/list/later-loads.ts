import { unit, type Mutant } from '../mutant.ts';

/** What begins after the pipeline has started: sinks and tables that come later. */
export const laterLoadMutants: readonly Mutant[] = [
  {
    name: 'a sink that came later is known before its first progress',
    file: 'src/apply/sink-row.ts',
    find: '  for (const [partition, offset] of row.startOffsets.entries()) {',
    put: "  await changeSinkRow(deps, (now) => ({ ...now, state: 'known' }), signal);\n  for (const [partition, offset] of row.startOffsets.entries()) {",
    breaks: 'A4, section 4, counterexample 27',
    suite: unit('apply/later-sink'),
  },
  {
    name: 'the loads that a sink owes itself are forgotten before they are asked for',
    file: 'src/apply/owed-loads.ts',
    find: '  for (const table of owes) await rideOut(',
    put: '  await changeSinkRow(deps, ({ owes: _, ...rest }) => rest, signal);\n  for (const table of owes) await rideOut(',
    breaks: 'A1, section 4',
    suite: unit('apply/later-sink'),
  },
  {
    name: 'a sink that came later claims its tables before the load of its own',
    file: 'src/apply/sink-row.ts',
    find: 'const openLoads = owes.map((table) => ({ table, sink: sinkName }));',
    put: "const openLoads = owes.map((table) => ({ table, sink: sinkName })).filter(({ table }) => table === '' + sinkName);",
    breaks: 'A3, section 4',
    suite: unit('runtime/later-sink'),
  },
  {
    name: 'the end of a load for all sinks ends that of one sink',
    file: 'src/apply/standing.ts',
    find: '(open) => open.table !== table || open.sink !== sink);',
    put: "(open) => open.table !== table || sink === '');",
    breaks: 'A3, section 4',
    suite: unit('apply/later-sink'),
  },
  {
    name: 'a load of an earlier sink counts as that of a new one with its name',
    file: 'src/apply/owed-loads.ts',
    find: 'if (now?.id === owner) return;',
    put: 'if (now !== null) return;',
    breaks: 'A1, section 4',
    suite: unit('apply/later-sink'),
  },
];
