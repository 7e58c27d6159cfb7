import type { TableSchema } from '#core/schema.ts';
import type { RowChange } from '#core/sink.ts';

import type { Answer, Statement } from '../lib/postgres/flight.ts';
import { groupsOf, parametersOf, removalOf, replacementOf, type Placed, type Writer } from './write.ts';

/** Rows of one table and schema version, in the order of their keys. */
type Group = { readonly writer: Writer; readonly placed: readonly Placed[] };

/**
 * A batch of whole images and deletes, written in the expectation that all of them are newer than what the sink holds, which is so
 * except where the log is read again: then it is not asked which rows won, and the statements need not wait for each other's answers
 * (docs/decisions/0014-two-round-trips.md). What it expects is checked before anything is committed.
 */
export class AllNewer {
  readonly #groups: readonly Group[];

  private constructor(groups: readonly Group[]) {
    this.#groups = groups;
  }

  /** Null for a batch with partial images, or of a table that is not known yet or lacks columns. */
  static of(changes: readonly RowChange[], known: (schema: TableSchema) => Writer | undefined): AllNewer | null {
    const groups: Group[] = [];
    for (const { schema, placed } of groupsOf(changes)) {
      const writer = known(schema);
      if (writer === undefined || placed.some(({ change }) => change.tag === 'partial')) return null;
      groups.push({ writer, placed });
    }
    return new AllNewer(groups);
  }

  /** One statement for each group, which advances the registers; with an inline one it writes the rows as well. */
  advances(): Statement[] {
    return this.#groups.map(({ writer, placed }) => {
      const inline = writer.shape.register === 'inline';
      return { ...writer.statement(inline ? 'inlineCount' : 'advanceCount'), values: parametersOf(writer.shape, placed) };
    });
  }

  /** Whether every row of the batch advanced its register, by the answers to `advances`. */
  isConfirmedBy(answers: readonly Answer[]): boolean {
    return this.#groups.every(({ placed }, index) => answers[index]?.count === placed.length);
  }

  /** Sidecar: the replicated rows. Statements of their own, with newer snapshots than those that took the locks. */
  writes(): Statement[] {
    return this.#groups.flatMap(({ writer, placed }) => {
      if (writer.shape.register === 'inline') return [];
      const deleted = placed.filter(({ change }) => change.tag === 'delete');
      const written = deleted.length === 0 ? placed : placed.filter(({ change }) => change.tag !== 'delete');
      const statements: Statement[] = [];
      if (written.length > 0) statements.push(replacementOf(writer, written));
      if (deleted.length > 0) statements.push(removalOf(writer, deleted));
      return statements;
    });
  }
}
