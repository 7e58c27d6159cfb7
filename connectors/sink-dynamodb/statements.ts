import type { BatchStatementRequest } from '@aws-sdk/client-dynamodb';
import type { Item } from '../lib/dynamodb/send.ts';
import { SEQUENCE, type Shape } from './shape.ts';

/** "Statement" of the API reference's BatchStatementRequest. */
const STATEMENT_CHARACTERS_MAX = 8_192;
/** Others are put without a statement: no quoting has to be relied on. */
const PLAIN_NAME = /^[\w .-]+$/;

/** Inserts an item where there is none. Null where the names of its attributes make no statement. */
export function insertStatement({ tableName }: Pick<Shape, 'tableName'>, item: Item): BatchStatementRequest | null {
  const names = Object.keys(item);
  return statement(
    names,
    Object.values(item),
    () => `INSERT INTO "${tableName}" VALUE {${names.map((name) => `'${name}': ?`).join(', ')}}`,
  );
}

/**
 * Makes `found` to `item`, provided that its sequence is still the one that was read. What the old item has and the new one has not is
 * removed by name: an update is no put. Null where names make no statement.
 */
export function updateStatement(
  { tableName, key }: Pick<Shape, 'tableName' | 'key'>,
  item: Item,
  found: Item,
): BatchStatementRequest | null {
  const keyNames = key.map(({ name }) => name);
  const set = Object.keys(item).filter((name) => !keyNames.includes(name));
  const removed = Object.keys(found).filter((name) => !(name in item));
  const parameters = [...set.map((name) => item[name]), ...keyNames.map((name) => item[name]), found[SEQUENCE]];
  return statement([...set, ...keyNames, ...removed], parameters, () =>
    [
      `UPDATE "${tableName}"`,
      ...set.map((name) => `SET "${name}" = ?`),
      ...removed.map((name) => `REMOVE "${name}"`),
      `WHERE ${[...keyNames, SEQUENCE].map((name) => `"${name}" = ?`).join(' AND ')}`,
    ].join(' '),
  );
}

function statement(
  names: readonly string[],
  parameters: readonly (Item[string] | undefined)[],
  text: () => string,
): BatchStatementRequest | null {
  if (!names.every((name) => PLAIN_NAME.test(name))) return null;
  const Statement = text();
  if (Statement.length > STATEMENT_CHARACTERS_MAX) return null;
  return { Statement, Parameters: parameters.filter((one) => one !== undefined) };
}
