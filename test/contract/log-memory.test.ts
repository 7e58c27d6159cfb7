import { MemoryLog, MemoryLogStore } from '../support/memory-log.ts';
import { logContract } from './log.ts';

logContract('in memory', (input) => {
  const store = new MemoryLogStore(input);
  return Promise.resolve({ open: () => new MemoryLog(store), [Symbol.asyncDispose]: () => Promise.resolve() });
});
