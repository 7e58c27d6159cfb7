/** Primary result codes of SQLite, https://www.sqlite.org/rescode.html. */
export const sqliteResult = { busy: 5, locked: 6, corrupt: 11, full: 13, notADatabase: 26 } as const;

/** The primary result code of an error that node:sqlite threw, null for any other error. */
export function resultCodeOf(error: unknown): number | null {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return null;
  return error.errcode & 0xff;
}

/** Another process, or another thread, holds the lock. */
export function isBusy(error: unknown): boolean {
  const code = resultCodeOf(error);
  return code === sqliteResult.busy || code === sqliteResult.locked;
}

/** Extended code and SQLite's own words for it, which hold nothing of a row: `SQLite 1802 (disk I/O error)`. */
export function describeResult(error: unknown): string {
  if (!(error instanceof Error) || !('errcode' in error) || !('errstr' in error)) return 'an unknown error';
  return `SQLite ${String(error.errcode)} (${String(error.errstr)})`;
}
