import type { SchemaVersion, TableId, TableSchema } from '#core/schema.ts';
import { SEQUENCE_ZERO, type Sequence } from '#core/sequence.ts';
import type { RowChange } from '#core/sink.ts';

import type { Register } from './config.ts';
import { refusalOf } from './errors.ts';
import { SEQUENCE_COLUMN, type OwnTables } from './names.ts';
import { storedSequence } from './progress.ts';
import type { Session } from './session.ts';
import { readShape } from './shape.ts';
import { writerOf, type Writer } from './write.ts';

/** What is known of the replicated tables, read when a schema is first met. */
export class Shapes {
  readonly #register: Register;
  readonly #own: OwnTables;
  readonly #target: (table: TableId) => TableId;
  #known = new Map<SchemaVersion, Writer>();

  constructor(options: { readonly register: Register; readonly own: OwnTables; readonly target: (table: TableId) => TableId }) {
    this.#register = options.register;
    this.#own = options.own;
    this.#target = options.target;
  }

  async writer(session: Session, schema: TableSchema): Promise<Writer> {
    const known = this.#known.get(schema.version);
    if (known !== undefined) return known;
    const shape = await readShape(session, { schema, target: this.#target(schema.table), register: this.#register, own: this.#own });
    const writer = writerOf(shape);
    // A table that lacks columns is looked at each time, until it has them.
    if (shape.missing.length === 0) this.#known.set(schema.version, writer);
    return writer;
  }

  /** Without looking at the table; undefined where it was not read yet, or lacks columns. */
  known(schema: TableSchema): Writer | undefined {
    return this.#known.get(schema.version);
  }

  forget(): void {
    this.#known = new Map();
  }

  /** The stored sequence of a change's key; null where there is none, or where the key itself is no value of its type. */
  async storedSequence(session: Session, change: RowChange): Promise<Sequence | null> {
    try {
      const { shape } = await this.writer(session, change.schema);
      const parts = JSON.parse(change.key) as readonly string[];
      const values = shape.key.map((column, place) => column.encode(1, () => parts[place + 1]));
      const condition = shape.key.map((column, place) => `h.${column.name} = (($${place + 1}::${column.parameterType})[1])${column.cast}`);
      const held = shape.register === 'sidecar' ? shape.versionTable : shape.table;
      const [row] = await session.texts(
        `SELECT pg_catalog.encode(h.${SEQUENCE_COLUMN}, 'hex') FROM ${held} AS h WHERE ${condition.join(' AND ')}`,
        values,
      );
      const hex = row?.[0] ?? null;
      return hex === null || hex === SEQUENCE_ZERO ? null : storedSequence(hex);
    } catch (error) {
      if (refusalOf(error) !== null) return null;
      throw error;
    }
  }
}
