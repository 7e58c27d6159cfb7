import { describe } from 'vitest';

import { sinkLimits } from './sink-limits.ts';
import { sinkProgress } from './sink-progress.ts';
import { sinkReplays } from './sink-replays.ts';
import { sinkRows } from './sink-rows.ts';
import { sinkTables } from './sink-tables.ts';
import { sinkBench, type SinkContext } from './sink.ts';

/** What every sink has to keep. DESIGN's sections 3 and 7 are the reasons. */
export function sinkContract(name: string, makeContext: () => Promise<SinkContext>): void {
  describe(`${name}: sink contract`, () => {
    const bench = sinkBench(makeContext);
    sinkTables(bench);
    sinkRows(bench);
    sinkReplays(bench);
    sinkLimits(bench);
    sinkProgress(bench);
  });
}
