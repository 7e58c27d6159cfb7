import type { SchemaCatalogue } from '#core/codec.ts';
import type { ControlStore } from '#core/control.ts';
import { controlKeys } from '#core/control-rows.ts';
import type { TableRow } from '#core/control-rows.ts';
import type { DescribedTable, SchemaVersion, TableCompanions, TableId, TableSchema } from '#core/schema.ts';

/**
 * The schemas that this sink's records can be decoded with: the live ones of the control store, and those that the log showed. The
 * control store comes first, because a reader can start behind the log's `schema` record.
 */
export class KnownSchemas implements SchemaCatalogue {
  readonly #byVersion = new Map<SchemaVersion, TableSchema>();
  /** Live versions of each table, the newest last. */
  readonly #live = new Map<TableId, readonly TableSchema[]>();
  readonly #companions = new Map<TableId, TableCompanions>();
  /** Tables whose changes are left out of the log. */
  readonly #stopped = new Set<TableId>();

  get(version: SchemaVersion): TableSchema | undefined {
    return this.#byVersion.get(version);
  }

  learn(schema: TableSchema): void {
    this.#byVersion.set(schema.version, schema);
    if (!this.#live.has(schema.table)) this.#live.set(schema.table, [schema]);
  }

  live(): ReadonlyMap<TableId, readonly TableSchema[]> {
    return this.#live;
  }

  /** Tables whose changes the log carries, as far as is known. */
  captured(): readonly TableId[] {
    return [...this.#live.keys()].filter((table) => !this.#stopped.has(table));
  }

  /** What the control store tells about the pipeline's tables now. */
  async load(control: ControlStore, pipeline: string, signal: AbortSignal): Promise<void> {
    for (const row of await control.list(controlKeys.tables(pipeline), signal)) {
      const { table, state, schemas, companions } = row.value as TableRow;
      if (state === 'stopped') this.#stopped.add(table);
      else this.#stopped.delete(table);
      if (schemas.length === 0) continue;
      if (companions !== undefined) this.#companions.set(table, companions);
      this.#live.set(table, schemas);
      for (const schema of schemas) this.#byVersion.set(schema.version, schema);
    }
  }

  /** The schema with what only the control store knows of its table. */
  described(schema: TableSchema): DescribedTable {
    const companions = this.#companions.get(schema.table);
    return companions === undefined ? schema : { ...schema, companions };
  }

  /** The live version before this one; null where there is none. */
  before(schema: TableSchema): TableSchema | null {
    const versions = this.#live.get(schema.table) ?? [];
    const index = versions.findIndex((live) => live.version === schema.version);
    return index > 0 ? (versions[index - 1] ?? null) : null;
  }
}
