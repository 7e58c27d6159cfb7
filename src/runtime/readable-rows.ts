import type { ControlRow, ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import { foreignFormat, logFormats } from '#core/log-format.ts';

/** Of rows that name none. */
const FORMAT_FIRST = 1;

/**
 * The control store, refusing rows of a format that this release does not know: what it took for known members could mean something
 * else there. Rows of the first have no member `format`.
 */
export function readableRows(store: ControlStore): ControlStore {
  return {
    ...(store.database === undefined ? {} : { database: store.database.bind(store) }),
    get: async (key, signal) => readable(await store.get(key, signal)),
    swap: async (write, signal) => {
      const swap = await store.swap(write, signal);
      if (swap.tag === 'conflict') readable(swap.current);
      return swap;
    },
    remove: async (key, expected, signal) => {
      const removed = await store.remove(key, expected, signal);
      if (removed.tag === 'conflict') readable(removed.current);
      return removed;
    },
    list: async (prefix, signal) => {
      const rows = await store.list(prefix, signal);
      rows.forEach(readable);
      return rows;
    },
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

function readable(row: ControlRow | null): ControlRow | null {
  const format = formatOf(row?.value);
  if (row === null || logFormats.some((known) => known === format)) return row;
  const text = typeof format === 'number' ? foreignFormat(format) : 'a format that is no number';
  throw new CausewayError('control_format_unknown', `the row ${row.key} in the control store has ${text}`);
}

function formatOf(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('format' in value)) return FORMAT_FIRST;
  return value.format;
}
