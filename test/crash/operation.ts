// Which operation a daemon is at, seen from outside while it stands still: nothing in the product helps, and nothing is touched. The
// servers tell what its sessions were asked last, the kernel tells which file it has locked for writing, its log how far it has come up.
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type pg from 'pg';
import type { Daemon } from '../support/daemon.ts';

export const operations = [
  'coming up',
  'standing by',
  'opening a generation',
  'looking at the source',
  'writing the log file',
  'writing the control store',
  'taking a partition',
  'locking the progress',
  'advancing versions',
  'writing rows',
  'deleting rows',
  'patching partial rows',
  'storing progress',
  'sweeping a truncate',
  'making tables',
  'another statement at the sink',
  'between operations',
] as const;

export type Operation = (typeof operations)[number];

/** A session of the daemon: a statement that runs, or whose answer it has not read while its transaction is open. */
type Session = { readonly application: string; readonly state: string; readonly query: string; readonly since_ms: number };

const SESSIONS = `SELECT application_name AS application, state, query,
    (extract(epoch FROM clock_timestamp() - state_change) * 1000)::float8 AS since_ms FROM pg_stat_activity
  WHERE application_name LIKE 'causeway%' AND pid <> pg_backend_pid() AND state IS NOT NULL`;

/** By the text of the statement, in this order. */
const ofSink: readonly (readonly [RegExp, Operation])[] = [
  [/^BEGIN|plan_cache_mode|^SELECT partition, token, .* FOR UPDATE$/s, 'locking the progress'],
  [/SET token = p\.token \+ 1/, 'taking a partition'],
  [/swept|sweeping|cw_deleted = true|USING unnest|NOT EXISTS \(SELECT FROM| AS p ORDER BY /, 'sweeping a truncate'],
  [/advanced AS \(|< EXCLUDED\."?cw_seq/, 'advancing versions'],
  [/SET writes =|^COMMIT/, 'storing progress'],
  [/FOR UPDATE OF h|RETURNING u\.ord|SELECT t\..* FROM .* JOIN/s, 'patching partial rows'],
  [/^INSERT INTO/, 'writing rows'],
  [/^DELETE FROM/, 'deleting rows'],
  [/^(CREATE|ALTER|COMMENT)/, 'making tables'],
];

export type Vantage = {
  readonly daemon: Daemon;
  readonly folder: string;
  readonly source: pg.Client;
  readonly sink: pg.Client;
  /** On the clock of `performance`. */
  readonly frozenAtMs: number;
};

/** The daemon is frozen. More than one operation can be under way; 'between operations' where none is. */
export async function operationsOf({ daemon, folder, source, sink, frozenAtMs }: Vantage): Promise<readonly Operation[]> {
  const found = new Set<Operation>();
  const locked = writeLocked(daemon.pid);
  if (isLocked(locked, join(folder, 'log.db-shm'))) found.add('writing the log file');
  if (isLocked(locked, join(folder, 'control.db-shm'))) found.add('writing the control store');
  for (const session of (await sink.query<Session>(SESSIONS)).rows) {
    // A statement that ended since the daemon stands still has an answer that nobody will read.
    if (session.state === 'idle' && session.since_ms > performance.now() - frozenAtMs) continue;
    found.add(ofSink.find(([pattern]) => pattern.test(session.query))?.[1] ?? 'another statement at the sink');
  }
  for (const { application, state } of (await source.query<Session>(SESSIONS)).rows) {
    if (!application.endsWith('/stream') && state !== 'idle') found.add('looking at the source');
  }
  const stage = stageOf(daemon.log);
  if (stage !== null) found.add(stage);
  return found.size === 0 ? ['between operations'] : [...found];
}

function stageOf(lines: readonly string[]): Operation | null {
  const last = lines.findLast((line) => line.includes('"capture is '));
  if (last === undefined) return 'coming up';
  if (last.includes('"capture is standby')) return 'standing by';
  return last.includes('"capture is starting') ? 'opening a generation' : null;
}

/** SQLite's lock for writing in WAL mode is byte 120 of the -shm file (https://www.sqlite.org/walformat.html#wal_locks). */
const WRITE_LOCK_BYTE = 120;

/** Inodes of which this process has that byte locked for writing. Empty where the kernel does not tell. */
function writeLocked(pid: number | undefined): ReadonlySet<string> {
  let text: string;
  try {
    text = readFileSync('/proc/locks', 'utf8');
  } catch {
    return new Set();
  }
  const inodes = new Set<string>();
  for (const line of text.split('\n')) {
    const [, kind, , mode, owner, place, from, to] = line.trim().split(/\s+/);
    if (kind !== 'POSIX' || mode !== 'WRITE' || Number(owner) !== pid || place === undefined) continue;
    if (Number(from) <= WRITE_LOCK_BYTE && (to === 'EOF' || Number(to) >= WRITE_LOCK_BYTE)) inodes.add(place.split(':').at(-1) ?? '');
  }
  return inodes;
}

function isLocked(inodes: ReadonlySet<string>, path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats !== undefined && inodes.has(String(stats.ino));
}
