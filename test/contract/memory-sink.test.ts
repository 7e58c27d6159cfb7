import type { TableId } from '#core/schema.ts';

import { typeCases } from '../support/canonical-values.ts';
import { MemorySink, MemorySinkStore } from '../support/memory-sink.ts';
import { sinkContract } from './sink-contract.ts';
import { contractColumn, text } from './sink.ts';

sinkContract('memory', () => {
  const store = new MemorySinkStore();
  store.poison = (_schema, row) => (row.includes('poisonous') ? 'the value is refused' : null);
  return Promise.resolve({
    open: () => new MemorySink(store),
    table: (name) => `public.${name}` as TableId,
    liveRows: (schema) => Promise.resolve(store.liveRows(schema)),
    plant: (schema, row) => {
      store.plant(schema, row);
      return Promise.resolve();
    },
    keepProgress: () => {
      const restore = store.keep('progress');
      return Promise.resolve(() => {
        restore();
        return Promise.resolve();
      });
    },
    dropClaim: () => {
      store.owner = null;
      return Promise.resolve();
    },
    typeCases,
    limitCases: [
      {
        what: 'a value that is refused',
        columns: [contractColumn('id', 'text', text, false), contractColumn('v', 'text', text)],
        key: [0],
        at: [['1', 'taken']],
        over: [['2', 'poisonous']],
      },
    ],
    manyRows: 20_000,
    poison: { sourceType: 'text', type: { tag: 'text' }, good: 'taken', bad: 'poisonous' },
    hasTables: true,
    hasColumns: true,
    takesOver: true,
    atomic: true,
    runs: 50,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
});
