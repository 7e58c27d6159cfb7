import type { TableSelection } from '#core/connector.ts';
import { tableIdOf, tableIdParts, type TableId } from '#core/schema.ts';

/** Which tables of the server the configuration means. The patterns are `schema.table` and `schema.*`, either with `!` before it. */
export class Selection {
  readonly #included: readonly TableSelection[];
  readonly #excluded: readonly string[];

  constructor(tables: readonly TableSelection[]) {
    this.#included = tables.filter(({ pattern }) => !pattern.startsWith('!'));
    this.#excluded = tables.filter(({ pattern }) => pattern.startsWith('!')).map(({ pattern }) => pattern.slice(1));
  }

  /** Tables that are named one by one: such a table has to be there. */
  get names(): readonly TableId[] {
    return this.#included.filter(({ pattern }) => !isWildcard(pattern)).map(({ pattern }) => pattern as TableId);
  }

  /** Schemas that are meant as a whole. */
  get schemas(): readonly string[] {
    return this.#included.filter(({ pattern }) => isWildcard(pattern)).map(({ pattern }) => pattern.slice(0, -2));
  }

  /** The entry that decides for a table: a name before `schema.*`; null where the table is not meant. */
  entryFor(table: TableId): TableSelection | null {
    if (this.#excluded.some((pattern) => matches(pattern, table))) return null;
    const matching = this.#included.filter(({ pattern }) => matches(pattern, table));
    return matching.find(({ pattern }) => !isWildcard(pattern)) ?? matching[0] ?? null;
  }

  includes(table: TableId): boolean {
    return this.entryFor(table) !== null;
  }

  isNamed(table: TableId): boolean {
    return this.names.includes(table);
  }

  isLoadedByHand(table: TableId): boolean {
    return this.entryFor(table)?.snapshot === 'never';
  }

  targetOf(table: TableId): TableId {
    const target = this.entryFor(table)?.target ?? null;
    if (target === null) return table;
    return isWildcard(target) ? tableIdOf(target.slice(0, -2), tableIdParts(table).name) : (target as TableId);
  }
}

function isWildcard(pattern: string): boolean {
  return pattern.endsWith('.*');
}

function matches(pattern: string, table: TableId): boolean {
  return isWildcard(pattern) ? tableIdParts(table).schema === pattern.slice(0, -2) : pattern === table;
}
