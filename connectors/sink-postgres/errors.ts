import type { CausewayError } from '#core/errors.ts';

import { postgresError } from '../lib/postgres/connection.ts';
import { isServerError } from '../lib/postgres/sqlstate.ts';
import { ValueTextError } from '../lib/postgres/value-text-error.ts';

/** Not a value that is refused, and yet a batch that has to be cut: two keys in it are one key here ("cannot affect row a second time"). */
const CARDINALITY_VIOLATION = '21000';

/**
 * Refusals that are about a row's values, by SQLSTATE: NOT NULL, CHECK, an index entry that is too large, a program limit. All of
 * class 22 (data exception) besides. Uniqueness, foreign keys and exclusion are not among them: they are about other rows,
 * and the constraint has to go.
 */
const VALUE_REFUSALS: ReadonlySet<string> = new Set(['23502', '23514', '44000', '54000']);

/** What the commonest of them mean ("PostgreSQL documentation, Appendix A"): the server's own words can quote the value. */
const CONDITIONS: ReadonlyMap<string, string> = new Map([
  ['22001', 'a text is too long'],
  ['22003', 'a number is out of range'],
  ['22007', 'not a date or time'],
  ['22008', 'a date or time is out of range'],
  ['22021', 'not in the encoding of the database'],
  ['22026', 'a bit string has another length'],
  ['2202E', 'an array has other dimensions'],
  ['22P02', 'not a text of the type'],
  ['22P05', 'a character that the encoding of the database has not'],
  ['23502', 'null where that is not allowed'],
  ['23514', 'a check constraint is violated'],
  ['44000', 'a check of the view is violated'],
  ['54000', 'larger than the server allows'],
]);

/** By SQLSTATE: the refusals that have words here. */
export const refusedConditions: readonly string[] = [...CONDITIONS.keys()];

export type Refusal = {
  /** True where the row itself is refused for ever; false where the batch only has to be cut. */
  readonly ofValue: boolean;
  /** For people; holds names, never a value. */
  readonly reason: string;
};

/** Null for an error that is not about the rows of the batch. */
export function refusalOf(error: unknown): Refusal | null {
  if (error instanceof ValueTextError) return { ofValue: true, reason: error.message };
  if (!isServerError(error)) return null;
  if (error.code === CARDINALITY_VIOLATION) return { ofValue: false, reason: 'two rows of the batch have one key at the sink' };
  if (!error.code.startsWith('22') && !VALUE_REFUSALS.has(error.code)) return null;
  const places = [
    error.column === undefined ? '' : `, column ${error.column}`,
    error.constraint === undefined ? '' : `, constraint ${error.constraint}`,
  ];
  const condition = CONDITIONS.get(error.code);
  const said = condition === undefined ? '' : ` (${condition})`;
  return { ofValue: true, reason: `SQLSTATE ${error.code}${said}${places.join('')}` };
}

export function sinkError(error: unknown): CausewayError {
  return postgresError(error, 'sink');
}
