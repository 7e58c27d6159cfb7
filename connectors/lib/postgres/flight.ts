import type pg from 'pg';

import { bindMessage } from './bind-message.ts';

/** A text in UTF-8, for a parameter that is too large to be put together as a string. */
export type Bytes = { readonly bytes: Buffer };

/** In the server's text form. */
export type Parameter = string | Bytes | null;

/** With a name the statement is prepared once for the connection. */
export type Statement = { readonly text: string; readonly name?: string; readonly values?: readonly Parameter[] };

/** What one statement answered: its rows as the server prints them, its command, and how many rows it touched. */
export type Answer = { readonly rows: readonly (readonly (string | null)[])[]; readonly command: string; readonly count: number };

/** The driver's own connection, as it gives it to what is submitted to it. Its `parsedStatements` says which names are prepared. */
type Wire = {
  readonly stream: { cork(): void; uncork(): void; write(message: Buffer): void };
  readonly parsedStatements: Record<string, string>;
  on(event: 'parseComplete', listener: () => void): void;
  off(event: 'parseComplete', listener: () => void): void;
  parse(message: { readonly name: string; readonly text: string; readonly types: readonly number[] }): void;
  execute(message: object): void;
  sync(): void;
};

/** Command, and behind an INSERT's oid the number of rows: `INSERT 0 17`, `DELETE 3`, `COMMIT`. */
const TAG_FORM = /^([A-Z]+)(?:.* (\d+))?$/;

/**
 * Several statements in one round trip, with one Sync behind the last: once a statement fails, the server passes over the others
 * ("PostgreSQL documentation, 54.2.4 Pipelining"), so none ever runs without those before it. Given to the driver's `query`, which
 * calls the methods below for the messages that come back.
 */
export class Flight implements pg.Submittable {
  readonly statements: readonly Statement[];
  readonly answered: Promise<readonly Answer[]>;
  readonly #answers: Answer[] = [];
  readonly #outcome: { readonly resolve: (answers: readonly Answer[]) => void; readonly reject: (error: Error) => void };
  #rows: (string | null)[][] = [];
  #leave: () => void = () => undefined;

  constructor(statements: readonly Statement[]) {
    const { promise, resolve, reject } = Promise.withResolvers<readonly Answer[]>();
    this.statements = statements;
    this.answered = promise;
    this.#outcome = { resolve, reject };
  }

  submit(connection: pg.Connection): void {
    const wire = connection as unknown as Wire;
    const parsing: Statement[] = [];
    // The driver would note one name only, and not whether the server has it where a later step fails.
    const noteParsed = (): void => {
      const { name, text } = parsing.shift() ?? { text: '' };
      if (name !== undefined) wire.parsedStatements[name] = text;
    };
    wire.on('parseComplete', noteParsed);
    this.#leave = () => wire.off('parseComplete', noteParsed);
    wire.stream.cork();
    // Two schema versions of a table have statements of one text.
    const given = new Set<string>();
    for (const statement of this.statements) {
      const { text, name = '', values = [] } = statement;
      if (name === '' || (wire.parsedStatements[name] === undefined && !given.has(name))) {
        wire.parse({ name, text, types: [] });
        parsing.push(statement);
        given.add(name);
      }
      wire.stream.write(bindMessage(name, values.map(plain)));
      wire.execute({});
    }
    wire.sync();
    wire.stream.uncork();
  }

  handleDataRow(message: { readonly fields: (string | null)[] }): void {
    this.#rows.push(message.fields);
  }

  handleCommandComplete(message: { readonly text: string }): void {
    const [, command = '', count = '0'] = TAG_FORM.exec(message.text) ?? [];
    this.#answers.push({ rows: this.#rows, command, count: Number(count) });
    this.#rows = [];
  }

  handleError(error: Error): void {
    this.#leave();
    this.#outcome.reject(error);
  }

  handleReadyForQuery(): void {
    this.#leave();
    this.#outcome.resolve(this.#answers);
  }
}

function plain(parameter: Parameter): string | Buffer | null {
  return typeof parameter === 'string' || parameter === null ? parameter : parameter.bytes;
}
