import { present } from '#core/assert.ts';
import type { Sequence } from '#core/sequence.ts';
import type { Floor } from '#core/sink.ts';
import { CommitRefused } from './errors.ts';
import { DELETED_COLUMN, SEQUENCE_COLUMN, type Place } from './names.ts';
import { writeTable, type SweepPhase, type TableRow } from './own-rows.ts';
import { checkPassed, tableRow } from './own-tables.ts';
import { columnNames, rowKeyIn, sentAgain, sequenceIn, type Shape } from './shape.ts';
import { transact, type Keys, type Reader, type ReadRow, type Store } from './transaction.ts';
import type { Wire } from './wire.ts';
import { Mutations } from './write.ts';

/** What one transaction looks at. Its keys are asked for in one request, of 10 MiB at most; a character has up to three bytes. */
const PAGE_KEYS_MAX = 1_000;
const PAGE_CHARACTERS_MAX = 2 * 1024 * 1024;

export type Sweep = {
  readonly store: Store;
  readonly place: Place;
  readonly shape: Shape;
  readonly floor: Floor;
  readonly partitions: number;
};

type At = NonNullable<TableRow['under']>;

/** `rows` counts the live rows that went. Errors: `sink_…`; `CommitRefused` where a single key is refused. */
export async function sweepTable(sweep: Sweep, signal: AbortSignal): Promise<{ readonly rows: number }> {
  let keysMax = PAGE_KEYS_MAX;
  let rows = 0;
  for (let done = false; !done;) {
    try {
      const page = await sweepPage(sweep, keysMax, signal);
      rows += page.rows;
      done = page.done;
    } catch (error) {
      if (!(error instanceof CommitRefused) || keysMax === 1) throw error;
      // Entries of indexes count against the limit of a commit too, and nobody counts them here.
      keysMax = Math.ceil(keysMax / 2);
    }
  }
  return { rows };
}

/**
 * One transaction, which goes on from where the sink says: it may have gone back since the last. `done` once the sweep is complete,
 * `rows` counts the live rows that went.
 */
async function sweepPage(
  { store, place, shape, floor, partitions }: Sweep,
  keysMax: number,
  signal: AbortSignal,
): Promise<{ readonly done: boolean; readonly rows: number }> {
  return await transact(store, `the table ${shape.table}`, signal, async (reader) => {
    const row = await tableRow(reader, place, shape);
    if ((row.swept ?? '') >= floor.sequence) return { result: { done: true, rows: 0 }, mutations: [] };
    const at = placeOf(row, floor.sequence);
    await checkPassed(reader, place, { ...floor, sequence: at.sequence }, partitions);
    const page =
      at.phase === 'versions' ? await sweptVersions(reader, shape, { ...at, keysMax }) : await sweptRows(reader, shape, { ...at, keysMax });
    const next = nextOf(at, page.last);
    const swept = next === null ? at.sequence : row.swept;
    return {
      result: { done: next === null, rows: page.rows },
      mutations: [...page.mutations.all(), writeTable({ ...row, swept, under: next })],
    };
  });
}

/**
 * A lower floor under way, or none: begins at the own one. A higher one is another worker's, and does for both: it is gone on with,
 * because two that began anew over each other would never end.
 */
function placeOf({ under }: TableRow, floor: Sequence): At {
  return under !== null && under.sequence >= floor ? under : { sequence: floor, phase: 'versions', after: null };
}

function nextOf({ sequence, phase }: At, last: readonly Wire[] | null): At | null {
  if (last !== null) return { sequence, phase, after: last };
  return phase === 'versions' ? { sequence, phase: 'rows' satisfies SweepPhase, after: null } : null;
}

type From = At & { readonly keysMax: number };

/** `last` is null where the table ends. */
type Page = { readonly last: readonly Wire[] | null; readonly rows: number; readonly mutations: Mutations };

async function sweptVersions(reader: Reader, shape: Shape, { sequence, after, keysMax }: From): Promise<Page> {
  const { rows, isAll } = await reader.read({
    table: shape.versionTable,
    columns: [...columnNames(shape.key), SEQUENCE_COLUMN, DELETED_COLUMN],
    keys: behind(after),
    rowsMax: keysMax,
    bytesMax: PAGE_CHARACTERS_MAX,
  });
  const width = shape.key.length;
  const older = rows.filter((row) => sequenceIn(row[width]) < sequence);
  const live = older.filter((row) => row[width + 1]?.boolValue !== true);
  return { last: isAll ? null : lastKey(shape, rows), rows: live.length, mutations: buried(shape, older, sequence) };
}

/** A row without a version counts as the lowest. */
async function sweptRows(reader: Reader, shape: Shape, { sequence, after, keysMax }: From): Promise<Page> {
  const { rows, isAll } = await reader.read({
    table: shape.table,
    columns: columnNames(shape.key),
    keys: behind(after),
    rowsMax: keysMax,
    bytesMax: PAGE_CHARACTERS_MAX,
  });
  const versions = await reader.read({
    table: shape.versionTable,
    columns: columnNames(shape.key),
    keys: { tag: 'keys', keys: rows.map(sentAgain) },
  });
  const known = new Set(versions.rows.map((row) => rowKeyIn(shape, row)));
  const without = rows.filter((row) => !known.has(rowKeyIn(shape, row)));
  return { last: isAll ? null : lastKey(shape, rows), rows: without.length, mutations: buried(shape, without, sequence) };
}

function buried(shape: Shape, rows: readonly ReadRow[], sequence: Sequence): Mutations {
  const mutations = new Mutations(shape);
  for (const row of rows) {
    const key = sentAgain(row.slice(0, shape.key.length));
    mutations.version(key, { sequence, tag: 'delete' });
    mutations.delete(key);
  }
  return mutations;
}

function behind(after: readonly Wire[] | null): Keys {
  return { tag: 'range', from: after === null ? null : { key: after, isIn: false }, to: null };
}

function lastKey(shape: Shape, rows: readonly ReadRow[]): readonly Wire[] {
  return sentAgain(present(rows.at(-1), 'a row of a full page').slice(0, shape.key.length));
}
