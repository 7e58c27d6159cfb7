import { describe } from 'vitest';

import { sinkLimits } from './sink-limits.ts';
import { sinkProgress } from './sink-progress.ts';
import { sinkReads } from './sink-reads.ts';
import { sinkReplays } from './sink-replays.ts';
import { sinkReports } from './sink-reports.ts';
import { sinkRows } from './sink-rows.ts';
import { sinkTables } from './sink-tables.ts';
import { sinkBench, type SinkBench, type SinkContext } from './sink.ts';

/** What every sink has to keep. DESIGN's sections 3 and 7 are the reasons. */
export function sinkContract(name: string, makeContext: () => Promise<SinkContext>): void {
  describe(`${name}: sink contract`, () => {
    const bench = sinkBench(makeContext);
    tablesAndRows(bench);
    sinkReplays(bench);
    sinkProgress(bench);
  });
}

/** The part that another dialect or register of a sink can break: what follows from its own statements and types. */
export function sinkDialectContract(name: string, makeContext: () => Promise<SinkContext>): void {
  describe(`${name}: tables and rows of the sink contract`, () => tablesAndRows(sinkBench(makeContext)));
}

function tablesAndRows(bench: SinkBench): void {
  sinkTables(bench);
  sinkRows(bench);
  sinkLimits(bench);
  sinkReads(bench);
  sinkReports(bench);
}
