import { memoryControlRows, MemoryControlStore } from '../support/memory-control-store.ts';
import { controlStoreContract } from './control-store.ts';

controlStoreContract('in memory', () => {
  const rows = memoryControlRows();
  return Promise.resolve({ open: () => new MemoryControlStore(rows), [Symbol.asyncDispose]: () => Promise.resolve() });
});
