import { describe } from 'vitest';
import { FakeDatabase, FakeSource, type FakeStatement } from '../support/fake-source.ts';
import { realRuntime } from '../support/test-runtime.ts';
import { ITEMS, type ItemChange, sourceContract } from './source.ts';

describe('the fake source', () => {
  sourceContract('fake', () => {
    const database = new FakeDatabase(realRuntime());
    database.createTable(ITEMS);
    return Promise.resolve({
      source: () => new FakeSource(database),
      commit: (rows) => {
        database.commit(rows.map(statement));
        return Promise.resolve();
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
  });
});

function statement(row: ItemChange): FakeStatement {
  switch (row.op) {
    case 'insert':
      return { op: 'insert', table: ITEMS, row: [row.id, row.value] };
    case 'update':
      return { op: 'update', table: ITEMS, id: row.id, row: [row.id, row.value] };
    case 'delete':
      return { op: 'delete', table: ITEMS, id: row.id };
    case 'truncate':
      return { op: 'truncate', tables: [ITEMS] };
  }
}
