import { present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import type { Sequence } from '#core/sequence.ts';
import type { RowChange, RowOutcome } from '#core/sink.ts';
import { keysRefusalOf, ValueRefused } from './errors.ts';
import { DELETED_COLUMN, SEQUENCE_COLUMN } from './names.ts';
import { columnNames, keyWires, rowKeyIn, rowWires, sequenceIn, VERSION_COLUMNS, type Shape } from './shape.ts';
import type { Mutation, Read, Reader, ReadRow } from './transaction.ts';
import { bytesWire, flagWire, type Wire } from './wire.ts';

const APPLIED: RowOutcome = { tag: 'applied' };
const STALE: RowOutcome = { tag: 'stale' };
const WITHOUT_BASE: RowOutcome = {
  tag: 'rejected',
  code: 'partial_without_base',
  reason: 'an update without all columns, and the sink has no row of the key',
};

/** A change whose key Spanner takes. */
type Placed = { readonly at: number; readonly change: RowChange; readonly key: readonly Wire[] };
type Version = { readonly sequence: Sequence; readonly isDeleted: boolean };

/**
 * What changes of distinct keys come to in a transaction: outcomes in their order, and the mutations of those that take effect. The
 * version rows that were read are the lock: another applier of one of these keys commits before them, or not at all. Errors:
 * `CommitRefused` for keys that are not read.
 */
export async function written(
  reader: Reader,
  changes: readonly RowChange[],
  shapeFor: (change: RowChange) => Shape,
): Promise<{ readonly outcomes: readonly RowOutcome[]; readonly mutations: readonly Mutation[] }> {
  const outcomes = new Array<RowOutcome | undefined>(changes.length);
  const groups = new Map<Shape, Placed[]>();
  for (const [at, change] of changes.entries()) {
    const shape = shapeFor(change);
    const key = refusing(outcomes, at, () => keyWires(shape, change.key));
    if (key === null) continue;
    const group = groups.get(shape);
    if (group === undefined) groups.set(shape, [{ at, change, key }]);
    else group.push({ at, change, key });
  }
  const parts = await Promise.all([...groups].map(([shape, placed]) => writtenTable(reader, shape, placed, outcomes)));
  return { outcomes: outcomes.map((outcome) => present(outcome, 'an outcome of each row')), mutations: parts.flat() };
}

/** Null, with the outcome set, for a value that no column can hold. */
function refusing<T>(outcomes: (RowOutcome | undefined)[], at: number, work: () => T): T | null {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof ValueRefused)) throw error;
    outcomes[at] = { tag: 'rejected', code: 'value_refused', reason: error.message };
    return null;
  }
}

async function writtenTable(
  reader: Reader,
  shape: Shape,
  placed: readonly Placed[],
  outcomes: (RowOutcome | undefined)[],
): Promise<readonly Mutation[]> {
  const versions = await versionsOf(reader, shape, placed);
  const newer = placed.filter(({ at, change }) => {
    const isNewer = (versions.get(change.key)?.sequence ?? '') < change.sequence;
    if (!isNewer) outcomes[at] = STALE;
    return isNewer;
  });
  const based = newer.filter(({ change }) => change.tag === 'partial' && versions.get(change.key)?.isDeleted !== true);
  const live = based.length === 0 ? new Set<RowKey>() : await liveKeys(reader, shape, based);
  const mutations = new Mutations(shape);
  for (const one of newer) {
    const { at, change, key } = one;
    if (change.tag === 'partial' && !live.has(change.key)) {
      outcomes[at] = WITHOUT_BASE;
      continue;
    }
    const row = change.tag === 'delete' ? null : refusing(outcomes, at, () => rowWires(shape, change));
    if (outcomes[at] !== undefined) continue;
    mutations.version(key, change);
    if (row === null) mutations.delete(key);
    else mutations.write(change.tag === 'partial' ? 'update' : 'replace', row);
    outcomes[at] = APPLIED;
  }
  return mutations.all();
}

async function versionsOf(reader: Reader, shape: Shape, placed: readonly Placed[]): Promise<ReadonlyMap<RowKey, Version>> {
  const asked = new Set(placed.map(({ change }) => change.key));
  const columns = [...columnNames(shape.key), SEQUENCE_COLUMN, DELETED_COLUMN];
  const rows = await rowsOf(reader, { table: shape.versionTable, columns }, placed);
  const width = shape.key.length;
  const versions = new Map<RowKey, Version>();
  for (const row of rows) {
    const key = rowKeyIn(shape, row);
    // A version that is not recognised would let an older change pass.
    if (!asked.has(key)) throw new CausewayError('sink_failed', 'a key does not come back from Spanner as it was asked for');
    versions.set(key, { sequence: sequenceIn(row[width]), isDeleted: row[width + 1]?.boolValue === true });
  }
  return versions;
}

/** The replicated table itself is asked: a partial image must not meet a row that something else has deleted. */
async function liveKeys(reader: Reader, shape: Shape, placed: readonly Placed[]): Promise<ReadonlySet<RowKey>> {
  const rows = await rowsOf(reader, { table: shape.table, columns: columnNames(shape.key) }, placed);
  return new Set(rows.map((row) => rowKeyIn(shape, row)));
}

/** Errors: `CommitRefused` where the service takes not all of the keys, since no commit with them is possible then. */
async function rowsOf(reader: Reader, from: Pick<Read, 'table' | 'columns'>, placed: readonly Placed[]): Promise<readonly ReadRow[]> {
  try {
    return (await reader.read({ ...from, keys: { tag: 'keys', keys: placed.map(({ key }) => key) } })).rows;
  } catch (error) {
    throw keysRefusalOf(error) ?? error;
  }
}

/** Mutations of one table and its version table, as few as can be: rows with the same columns travel together. */
export class Mutations {
  readonly #shape: Shape;
  readonly #versions: (readonly Wire[])[] = [];
  readonly #deletes: (readonly Wire[])[] = [];
  readonly #writes = new Map<string, Mutation & { readonly tag: 'replace' | 'update'; readonly rows: (readonly Wire[])[] }>();

  constructor(shape: Shape) {
    this.#shape = shape;
  }

  version(key: readonly Wire[], { sequence, tag }: { readonly sequence: Sequence; readonly tag: RowChange['tag'] }): void {
    this.#versions.push([...key, bytesWire(sequence), flagWire(tag === 'delete')]);
  }

  delete(key: readonly Wire[]): void {
    this.#deletes.push(key);
  }

  write(tag: 'replace' | 'update', { columns, wires }: { readonly columns: readonly string[]; readonly wires: readonly Wire[] }): void {
    const group = `${tag} ${columns.join()}`;
    const known = this.#writes.get(group);
    if (known === undefined) this.#writes.set(group, { tag, table: this.#shape.table, columns, rows: [wires] });
    else known.rows.push(wires);
  }

  all(): readonly Mutation[] {
    const { table, versionTable, key } = this.#shape;
    const versions: Mutation = {
      tag: 'replace',
      table: versionTable,
      columns: [...columnNames(key), ...VERSION_COLUMNS],
      rows: this.#versions,
    };
    const deletes: Mutation = { tag: 'delete', table, keys: this.#deletes };
    return [...(this.#versions.length > 0 ? [versions] : []), ...(this.#deletes.length > 0 ? [deletes] : []), ...this.#writes.values()];
  }
}
