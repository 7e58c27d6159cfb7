import { createHash } from 'node:crypto';

import type { TableId } from '#core/schema.ts';

import { quoteIdentifier } from '../lib/postgres/quote.ts';

/** Postgres cuts longer identifiers (NAMEDATALEN). */
export const NAME_BYTES_MAX = 63;
const HASH_DIGITS = 32;
/** Begins the names that were too long to stand as they are, so that none of them equals a short one. */
const HASHED = '~';

/**
 * Name of a replicated table's version table: the table's own name with its schema, such as `public.orders`, which is one to one
 * because a schema has no dot. One that is too long for an identifier is cut and told apart by a hash.
 */
export function versionTableName(target: TableId): string {
  if (Buffer.byteLength(target) <= NAME_BYTES_MAX && !target.startsWith(HASHED)) return target;
  const hash = createHash('sha256').update(target).digest('hex').slice(0, HASH_DIGITS);
  let readable = '';
  for (const char of target) {
    if (Buffer.byteLength(HASHED + readable + char) > NAME_BYTES_MAX - HASH_DIGITS) break;
    readable += char;
  }
  return HASHED + readable + hash;
}

/** Of the register, in version tables and in replicated tables of an inline register alike: no column of a source is called so. */
export const SEQUENCE_COLUMN = 'cw_seq';
export const DELETED_COLUMN = 'cw_deleted';

/** Of the tables that the sink keeps for itself beside the version tables. */
export const OWN_TABLE_NAMES = ['sink_progress', 'sink_table', 'sink_owner', 'sink_report'] as const;

/** The tables that the sink keeps for itself, quoted. */
export type OwnTables = {
  readonly schema: string;
  /** Fence and progress of each partition. */
  readonly progress: string;
  /** Which replicated tables belong to which pipeline and sink, and their sweeps. */
  readonly tables: string;
  /** Which deployment has claimed the progress of which pipeline and sink. */
  readonly owners: string;
  /** What reconciliations found. */
  readonly reports: string;
  readonly version: (target: TableId) => string;
};

export function ownTables(schema: string): OwnTables {
  const quoted = quoteIdentifier(schema);
  return {
    schema,
    progress: `${quoted}.sink_progress`,
    tables: `${quoted}.sink_table`,
    owners: `${quoted}.sink_owner`,
    reports: `${quoted}.sink_report`,
    version: (target) => `${quoted}.${quoteIdentifier(versionTableName(target))}`,
  };
}
