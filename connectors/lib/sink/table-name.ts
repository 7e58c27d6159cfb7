import { tableIdParts, type TableId } from '#core/schema.ts';

export type NamedTable = { readonly pipeline: string; readonly sink: string; readonly target: TableId };

/** What a pattern with {pipeline}, {sink}, {schema} and {table} makes of a target: not always a name that the store takes. */
export function nameBy(pattern: string, { pipeline, sink, target }: NamedTable): string {
  const { schema, name } = tableIdParts(target);
  const parts: Readonly<Record<string, string>> = { pipeline, sink, schema, table: name };
  return pattern.replace(/\{(\w+)\}/g, (_all, part: string) => parts[part] ?? '');
}
