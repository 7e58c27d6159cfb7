import type { LogBatch } from '#core/log.ts';
import type { MemoryLog } from '../support/memory-log.ts';

/** The same log, whose readers from now on give what `each` makes of a batch. */
export function readThrough(log: MemoryLog, each: (batch: LogBatch) => Iterable<LogBatch> | AsyncIterable<LogBatch>): MemoryLog {
  const reader = log.reader.bind(log);
  log.reader = async (consumer, signal) => {
    const real = await reader(consumer, signal);
    return {
      async *assignments(until) {
        for await (const assignment of real.assignments(until)) {
          const batches = assignment.batches.bind(assignment);
          yield Object.assign(assignment, {
            async *batches(...given: Parameters<typeof batches>) {
              for await (const batch of batches(...given)) yield* each(batch);
            },
          });
        }
      },
      [Symbol.asyncDispose]: () => real[Symbol.asyncDispose](),
    };
  };
  return log;
}
