import { createHash } from 'node:crypto';
import { parseRowKey, type RowKey } from './key.ts';
import type { TableId } from './schema.ts';
import type { Sequence } from './sequence.ts';
import type { Row } from './value.ts';

/** So many keys are read in one chunk, and a request is one row of the control store. */
export const ROWS_REQUEST_KEYS_MAX = 1_000;

/** Of the keys' texts. With the digests and the answer a request stays below what the smallest kind of control store takes. */
export const ROWS_REQUEST_TEXT_MAX = 128 * 1024;

/** `args` of a `rows` request: the capture holder, which alone knows what the stream has shown, reads rows of these keys. */
export type RowsRequestArgs = {
  readonly table: TableId;
  /** The only sink that published rows are for; null for all. */
  readonly sink: string | null;
  /** At most `ROWS_REQUEST_KEYS_MAX`, as the source writes them. */
  readonly keys: readonly RowKey[];
  /** `publish`: what the source holds of each key now goes into the log: its row, or that there is none. */
  readonly purpose: 'confirm' | 'publish';
  /** For `confirm`: `rowDigest(salt, row)` of what the asker has read of each key, null where it found none. */
  readonly salt: string;
  readonly digests: readonly (string | null)[];
  readonly answer?: RowsAnswer;
};

/**
 * `same`, `changed`: compared with the digest, and the key did not change in the window. `hot`: it changed there, so its newest change stands
 * in the log before `high`. `published` otherwise.
 */
export type KeyAnswer = 'same' | 'changed' | 'hot' | 'published';

export type RowsAnswer = {
  /**
   * Rows are as of this sequence: the epoch, the commit of the low watermark, 0, 0. Where they were too large to be read at once it is the
   * first of several: a later row is as of a commit behind it, and it too did not change from there to the end of its own window.
   */
  readonly low: Sequence;
  /** What was published, and every change of the window, stands before a watermark record at or above this sequence, and only before such. */
  readonly high: Sequence;
  /** In the keys' order. */
  readonly keys: readonly KeyAnswer[];
};

/** Tells two rows apart without showing either. `salt` is the request's own, so that equal rows of two requests have nothing in common. */
export function rowDigest(salt: string, row: Row): string {
  return createHash('sha256')
    .update(JSON.stringify([salt, row]))
    .digest('base64url');
}

/** As many of the keys, from the first on, as one request takes. */
export function keysOfOneRequest(keys: Iterable<RowKey>): readonly RowKey[] {
  const taken: RowKey[] = [];
  let length = 0;
  for (const key of keys) {
    length += key.length;
    if (taken.length >= ROWS_REQUEST_KEYS_MAX || (taken.length > 0 && length > ROWS_REQUEST_TEXT_MAX)) break;
    taken.push(key);
  }
  return taken;
}

export type ReadArgs = { readonly tag: 'asked'; readonly asked: RowsRequestArgs } | { readonly tag: 'refused'; readonly reason: string };

/** What stands in the control store was written by somebody else: a request that cannot be served is answered in words. They hold no key. */
export function readRowsRequest(args: Readonly<Record<string, unknown>>): ReadArgs {
  const { table, sink, keys, purpose, salt, digests } = args;
  if (typeof table !== 'string') return refused('the request names no table');
  if (sink !== null && typeof sink !== 'string') return refused('the request names neither a sink nor all of them');
  if (!Array.isArray(keys) || keys.length === 0) return refused('the request names no keys');
  if (keys.length > ROWS_REQUEST_KEYS_MAX) return refused(`${keys.length} keys are more than the ${ROWS_REQUEST_KEYS_MAX} of a request`);
  if (!keys.every((key): key is RowKey => isKeyOf(table, key))) return refused(`the request names something that is no key of ${table}`);
  if (purpose === 'publish') {
    return { tag: 'asked', asked: { table: table as TableId, sink, keys, purpose, salt: '', digests: [] } };
  }
  if (purpose !== 'confirm') return refused('what the request is for is not known to this release');
  if (typeof salt !== 'string' || !Array.isArray(digests) || digests.length !== keys.length || !digests.every(isDigest)) {
    return refused('the request does not tell a digest for each key');
  }
  return { tag: 'asked', asked: { table: table as TableId, sink, keys, purpose, salt, digests } };
}

function refused(reason: string): ReadArgs {
  return { tag: 'refused', reason };
}

function isDigest(value: unknown): value is string | null {
  return value === null || typeof value === 'string';
}

function isKeyOf(table: string, key: unknown): boolean {
  if (typeof key !== 'string') return false;
  try {
    // Written as the source writes it: another spelling of the text would be another key to a sink.
    return parseRowKey(key as RowKey).table === table && JSON.stringify(JSON.parse(key)) === key;
  } catch {
    return false;
  }
}
