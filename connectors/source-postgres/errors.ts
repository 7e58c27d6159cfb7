import { CausewayError } from '#core/errors.ts';
import { postgresError, sqlstateOf } from '../lib/postgres/connection.ts';

export const SQLSTATE = {
  duplicateObject: '42710',
  duplicateSchema: '42P06',
  duplicateTable: '42P07',
  insufficientPrivilege: '42501',
  notInPrerequisiteState: '55000',
  objectInUse: '55006',
  tooManySlots: '53400',
  undefinedFunction: '42883',
  undefinedObject: '42704',
  undefinedSchema: '3F000',
  undefinedTable: '42P01',
  uniqueViolation: '23505',
} as const;

export function hasSqlstate(error: unknown, ...states: readonly string[]): boolean {
  const state = sqlstateOf(error);
  return state !== null && states.includes(state);
}

/** What a refused statement about the source's own objects means; `statement` is what somebody with the right can run instead. */
export function refusedStatement(error: unknown, what: string, statement: string): CausewayError {
  const mapped = postgresError(error, 'source');
  if (mapped.code !== 'source_permission') return mapped;
  return new CausewayError(
    'source_permission',
    `${what} needs a right that the role lacks (${mapped.message}). As its owner, run: ${statement}`,
  );
}
