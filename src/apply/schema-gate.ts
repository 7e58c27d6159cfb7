import { codeOf } from '#core/errors.ts';
import type { SchemaBlock, SinkRow } from '#core/control-rows.ts';
import { compareSchemas } from '#core/schema.ts';
import type { SchemaChange, TableId, TableSchema } from '#core/schema.ts';
import type { KnownSchemas } from './catalogue.ts';
import type { ApplyDeps } from './deps.ts';
import { passesByItself } from './ride-out.ts';
import { changeSinkRow } from './sink-row.ts';

/** What a partition's worker gives the gate, and what it lets the gate do while it waits there. */
export type GateVisitor = {
  /** The newest schema of each table that this partition has met since its worker started. */
  readonly met: Map<TableId, TableSchema>;
  readonly signal: AbortSignal;
  /** Called before each look at the approval. */
  readonly whileBlocked: () => Promise<void>;
};

/**
 * Stands between a `schema` record and the changes behind it. A schema that only adds columns is followed by the sink itself; any
 * other holds the partition until a person approved it and the replicated table takes its rows. The approval stands in the
 * sink's row, so it holds for every partition and over restarts.
 */
export class SchemaGate {
  readonly #deps: ApplyDeps;
  readonly #schemas: KnownSchemas;
  readonly #provisioned = new Set<TableId>();
  /** Steps that the sink has made or is making; one for all partitions. */
  readonly #steps = new Map<string, Promise<void>>();
  #blocked: readonly SchemaBlock[] = [];
  /** Versions that a person was told of: every partition waits for the same approval. */
  readonly #told = new Set<string>();
  #askedAtMs = Number.NEGATIVE_INFINITY;

  constructor(deps: ApplyDeps, schemas: KnownSchemas) {
    this.#deps = deps;
    this.#schemas = schemas;
  }

  /** Schemas that some partition waits for. */
  get blocked(): readonly SchemaBlock[] {
    return this.#blocked;
  }

  /** Makes or checks the tables that the control store knows. */
  async provision(row: SinkRow, signal: AbortSignal): Promise<void> {
    const chosen: TableSchema[] = [];
    for (const versions of this.#schemas.live().values()) {
      const schema = await this.#fitting(versions, row, signal);
      if (schema !== null) chosen.push(schema);
    }
    await this.#deps.sink.provision(
      chosen.map((schema) => this.#schemas.described(schema)),
      signal,
    );
    for (const schema of chosen) this.#provisioned.add(schema.table);
  }

  /** The sink went back: what was made there for any partition may be lost. */
  forget(): void {
    this.#steps.clear();
    this.#provisioned.clear();
  }

  /** Resolves once rows of `schema` may be written. May be called again after an error. */
  async pass(schema: TableSchema, visitor: GateVisitor): Promise<void> {
    const { met, signal } = visitor;
    const last = met.get(schema.table);
    if (last?.version === schema.version) return;
    if (last !== undefined && (await this.#isOlder(schema, last, signal))) return;
    const before = last ?? (await this.#predecessor(schema, signal));
    this.#schemas.learn(schema);
    await this.#once(`provision ${schema.table}`, () => this.#provisionTable(schema, signal));
    if (before !== null) await this.#step(before, schema, visitor);
    met.set(schema.table, schema);
  }

  /**
   * Adds columns again that the sink has lost: one that goes back to a copy from before they were added, and from behind its last
   * progress, shows nothing else of it. What it cannot add by itself the first write tells of.
   */
  async restore(schema: TableSchema, signal: AbortSignal): Promise<void> {
    await this.#once(`restore ${schema.version}`, async () => {
      const live = this.#schemas.live().get(schema.table) ?? [];
      const upTo = live.slice(0, live.findIndex(({ version }) => version === schema.version) + 1);
      const held = await this.#fitting(upTo, null, signal);
      const change = compareSchemas(held ?? schema, schema);
      if (held !== null && change.tag === 'additive') await this.#evolve({ before: held, after: schema, change }, signal);
    });
  }

  /** A live version whose rows the sink's table takes as it is now; null for a table that neither control store nor log has shown. */
  async fitting(table: TableId, signal: AbortSignal): Promise<TableSchema | null> {
    if (!this.#schemas.live().has(table)) await this.#askAgain(signal);
    return await this.#fitting(this.#schemas.live().get(table) ?? [], null, signal);
  }

  /** What the control store shows now, looked at now and then; what it does not answer is not known either. */
  async #askAgain(signal: AbortSignal): Promise<void> {
    const { control, pipeline, runtime, options } = this.#deps;
    if (runtime.monotonicMs() - this.#askedAtMs < options.controlPollMs) return;
    this.#askedAtMs = runtime.monotonicMs();
    try {
      await this.#schemas.load(control, pipeline, signal);
    } catch (error) {
      if (!passesByItself(error)) throw error;
    }
  }

  /**
   * The schema that the sink's table was made for, as far as can be told: with several live ones, the newest whose rows it takes.
   * The newest of all may stand further on in the log, and wait for an approval there. A table that is not there yet is made as
   * the log first shows it, unless a later one is approved.
   */
  async #fitting(versions: readonly TableSchema[], row: SinkRow | null, signal: AbortSignal): Promise<TableSchema | null> {
    if (versions.length < 2) return versions[0] ?? null;
    for (const schema of versions.toReversed()) {
      if ((await this.#deps.sink.differences(this.#schemas.described(schema), signal)).length === 0) return schema;
    }
    const blocked = row?.blocked ?? [];
    const isApproved = ({ version }: TableSchema): boolean => blocked.some((block) => block.version === version && block.approved);
    return versions.findLast(isApproved) ?? versions[0] ?? null;
  }

  /**
   * True for a version that came before the one that this partition has met: each generation announces every live version again,
   * and changes of an older one that were sent before may follow. The sink does not go back to it.
   */
  async #isOlder(schema: TableSchema, met: TableSchema, signal: AbortSignal): Promise<boolean> {
    const places = (): readonly number[] => {
      const live = this.#schemas.live().get(schema.table) ?? [];
      return [schema, met].map(({ version }) => live.findIndex((known) => known.version === version));
    };
    if (places().includes(-1)) await this.#schemas.load(this.#deps.control, this.#deps.pipeline, signal);
    const [place = -1, metPlace = -1] = places();
    return place !== -1 && place < metPlace;
  }

  /** The version before this one, for a partition that has met none of the table yet: this may be a repetition of a known one. */
  async #predecessor(schema: TableSchema, signal: AbortSignal): Promise<TableSchema | null> {
    const live = this.#schemas.live().get(schema.table) ?? [];
    if (!live.some((known) => known.version === schema.version)) {
      await this.#schemas.load(this.#deps.control, this.#deps.pipeline, signal);
    }
    return this.#schemas.before(schema);
  }

  async #provisionTable(schema: TableSchema, signal: AbortSignal): Promise<void> {
    if (this.#provisioned.has(schema.table)) return;
    await this.#deps.sink.provision([this.#schemas.described(schema)], signal);
    this.#provisioned.add(schema.table);
  }

  async #step(before: TableSchema, after: TableSchema, visitor: GateVisitor): Promise<void> {
    const change = compareSchemas(before, after);
    switch (change.tag) {
      case 'same':
        return;
      case 'additive': {
        const refusal = await this.#evolve({ before, after, change }, visitor.signal);
        if (refusal !== null) await this.#approval(after, [refusal], visitor);
        return;
      }
      case 'breaking':
        await this.#approval(after, change.reasons, visitor);
    }
  }

  /** Returns why the sink cannot follow by itself, or null where it did. */
  async #evolve(
    step: { readonly before: TableSchema; readonly after: TableSchema; readonly change: SchemaChange & { readonly tag: 'additive' } },
    signal: AbortSignal,
  ): Promise<string | null> {
    const { before, after, change } = step;
    try {
      await this.#once(`evolve ${before.version} ${after.version}`, () =>
        this.#deps.sink.evolve(this.#schemas.described(after), change, signal),
      );
      return null;
    } catch (error) {
      if (codeOf(error) === 'schema_blocked' && error instanceof Error) return error.message;
      throw error;
    }
  }

  async #approval(schema: TableSchema, reasons: readonly string[], visitor: GateVisitor): Promise<void> {
    const { runtime, logger, options } = this.#deps;
    const is = (block: SchemaBlock): boolean => block.table === schema.table && block.version === schema.version;
    try {
      while (true) {
        const row = await changeSinkRow(
          this.#deps,
          (now) =>
            now.blocked.some(is)
              ? null
              : { ...now, blocked: [...now.blocked, { table: schema.table, version: schema.version, reasons, approved: false }] },
          visitor.signal,
        );
        const block = row.blocked.find(is) ?? { table: schema.table, version: schema.version, reasons, approved: false };
        const left = block.approved ? await this.#deps.sink.differences(this.#schemas.described(schema), visitor.signal) : block.reasons;
        if (block.approved && left.length === 0) return;
        this.#blocked = [...this.#blocked.filter((other) => !is(other)), { ...block, reasons: left }];
        if (!this.#told.has(`${schema.table} ${schema.version}`)) {
          this.#told.add(`${schema.table} ${schema.version}`);
          logger.log('warn', 'a new schema waits for approval: see `causeway schema diff`, then run `causeway schema approve`', {
            table: schema.table,
            version: schema.version,
          });
        }
        await visitor.whileBlocked();
        await runtime.sleep(options.controlPollMs, visitor.signal);
      }
    } finally {
      this.#blocked = this.#blocked.filter((other) => !is(other));
    }
  }

  /** Work that one partition does for all. After an error the next one tries again. */
  async #once(name: string, work: () => Promise<void>): Promise<void> {
    const running = this.#steps.get(name) ?? work();
    this.#steps.set(name, running);
    try {
      await running;
    } catch (error) {
      if (this.#steps.get(name) === running) this.#steps.delete(name);
      throw error;
    }
  }
}
