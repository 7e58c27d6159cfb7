// Columns of rows. Our tables are STRICT, but a damaged file holds anything in them: a row that says so is damage of the file, with
// SQLite's own code for that, and no defect of ours.
import { sqliteResult } from './result-code.ts';

export type Row = Readonly<Record<string, unknown>>;

export function integerIn(row: Row, column: string): number {
  const value = row[column];
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw corrupt(`${column} holds no integer`);
  return value;
}

export function textIn(row: Row, column: string): string {
  const value = row[column];
  if (typeof value !== 'string') throw corrupt(`${column} holds no text`);
  return value;
}

export function bytesIn(row: Row, column: string): Uint8Array {
  const value = row[column];
  if (!(value instanceof Uint8Array)) throw corrupt(`${column} holds no bytes`);
  return value;
}

export function nullOr<T>(read: (row: Row, column: string) => T, row: Row, column: string): T | null {
  return row[column] === null ? null : read(row, column);
}

/** As node:sqlite throws what SQLite itself found. */
export function corrupt(errstr: string): Error {
  return Object.assign(new Error(errstr), { errcode: sqliteResult.corrupt, errstr });
}

/** node:sqlite refuses an integer that is no safe one, which nobody wrote. */
export function isUnsafeInteger(error: unknown): boolean {
  return error instanceof RangeError && 'code' in error && error.code === 'ERR_OUT_OF_RANGE';
}
