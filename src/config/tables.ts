import type { TableSelection } from '#core/connector.ts';
import { tableIdOf, tableIdParts, type TableId } from '#core/schema.ts';

/** An entry of `tables` as it stands in the file. */
export type TableEntry = string | { readonly name: string; readonly snapshot: 'initial' | 'never'; readonly target?: string | undefined };

export function selectionOf(entry: TableEntry): TableSelection {
  if (typeof entry === 'string') return { pattern: entry, snapshot: 'initial', target: null };
  return { pattern: entry.name, snapshot: entry.snapshot, target: entry.target ?? null };
}

export function isExclusion(pattern: string): boolean {
  return pattern.startsWith('!');
}

export function isWildcard(pattern: string): boolean {
  return pattern.endsWith('.*');
}

/** True where the pattern, without its `!`, names the table. */
export function patternMatches(pattern: string, table: TableId): boolean {
  const plain = isExclusion(pattern) ? pattern.slice(1) : pattern;
  return isWildcard(plain) ? tableIdParts(table).schema === plain.slice(0, -2) : plain === table;
}

/** The entry that decides for a table: an exact name before `schema.*`; null where the table is left out or not meant. */
export function selectionFor(tables: readonly TableSelection[], table: TableId): TableSelection | null {
  if (tables.some(({ pattern }) => isExclusion(pattern) && patternMatches(pattern, table))) return null;
  const matching = tables.filter(({ pattern }) => !isExclusion(pattern) && patternMatches(pattern, table));
  return matching.find(({ pattern }) => !isWildcard(pattern)) ?? matching[0] ?? null;
}

/** Where a table's rows go. A table that no entry maps keeps its name. */
export function targetOf(tables: readonly TableSelection[], table: TableId): TableId {
  const target = selectionFor(tables, table)?.target ?? null;
  if (target === null) return table;
  if (!isWildcard(target)) return target as TableId;
  return tableIdOf(target.slice(0, -2), tableIdParts(table).name);
}

/** Tables that would be written to one and the same target: their rows would overwrite each other. */
export function collidingTargets(
  tables: readonly TableSelection[],
  captured: readonly TableId[],
): readonly { readonly target: TableId; readonly tables: readonly TableId[] }[] {
  const byTarget = new Map<TableId, TableId[]>();
  for (const table of captured) {
    const target = targetOf(tables, table);
    byTarget.set(target, [...(byTarget.get(target) ?? []), table]);
  }
  return [...byTarget].filter(([, sources]) => sources.length > 1).map(([target, sources]) => ({ target, tables: sources }));
}

/** A target that is captured itself, for a sink that is the source's own database; null where there is none. */
export function writesWhatIsCaptured(tables: readonly TableSelection[]): string | null {
  const included = tables.filter(({ pattern }) => !isExclusion(pattern));
  for (const { pattern, target } of included) {
    const written = target ?? pattern;
    const isCaptured = included.some(({ pattern: captured }) => patternsMeet(written, captured));
    const isLeftOut = !isWildcard(written) && selectionFor(tables, written as TableId) === null;
    if (isCaptured && !isLeftOut) return written;
  }
  return null;
}

function patternsMeet(a: string, b: string): boolean {
  if (isWildcard(a)) return isWildcard(b) ? a === b : patternMatches(a, b as TableId);
  return patternMatches(b, a as TableId);
}
