import { CausewayError } from '#core/errors.ts';

/** Errors of the server and the driver get their codes by SQLSTATE, in lib/postgres/sqlstate.ts; these are our own. */
export const refusals = {
  standby: () =>
    // What it shows can be old. After a failover the address may lead to the new primary a moment later.
    new CausewayError('control_unavailable', 'the server of the control store is a standby'),
  encoding: (name: string) =>
    new CausewayError(
      'control_misconfigured',
      `the database of the control store is in ${name}, which has not every character: make another one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`,
    ),
  missing: (statements: readonly string[]) =>
    new CausewayError(
      'control_misconfigured',
      `the control store lacks what these statements make (or set \`provision: create\`):\n${statements.map((one) => `${one};`).join('\n')}`,
    ),
  foreign: (table: string) => new CausewayError('control_foreign', `${table} is not a control store of Causeway`),
  format: (table: string, found: number, known: number) =>
    new CausewayError(
      'control_foreign',
      `${table} has format version ${found}, of ${found > known ? 'a newer' : 'an older'} release; this one knows ${known}`,
    ),
  unlogged: (table: string) =>
    new CausewayError('control_misconfigured', `${table} is emptied by a crash of its server: ALTER TABLE ${table} SET LOGGED;`),
} as const;
