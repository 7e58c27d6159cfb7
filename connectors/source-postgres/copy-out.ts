import type pg from 'pg';

export type CopyEnd = {
  /** False where `take` ended it. The connection has to be dropped then: the server goes on sending. */
  readonly isWhole: boolean;
};

/**
 * One `COPY … TO STDOUT` as the driver runs it: `take` is given each row as it comes, in a buffer that is overwritten afterwards, and
 * returns false for no more. So no more is held than what `take` keeps, whatever the rows' size is.
 */
export class CopyOut implements pg.Submittable {
  readonly ended: Promise<CopyEnd>;
  readonly #statement: string;
  readonly #take: (line: Buffer) => boolean;
  readonly #outcome: { readonly resolve: (end: CopyEnd) => void; readonly reject: (error: unknown) => void };
  #isOver = false;

  constructor(statement: string, take: (line: Buffer) => boolean) {
    const { promise, resolve, reject } = Promise.withResolvers<CopyEnd>();
    this.ended = promise;
    this.#statement = statement;
    this.#take = take;
    this.#outcome = { resolve, reject };
  }

  submit(connection: pg.Connection): void {
    (connection as unknown as { query(text: string): void }).query(this.#statement);
  }

  handleCopyData(message: { readonly chunk: Buffer }): void {
    if (this.#isOver) return;
    try {
      if (this.#take(message.chunk)) return;
      this.#end({ isWhole: false });
    } catch (error) {
      this.#isOver = true;
      this.#outcome.reject(error);
    }
  }

  handleCommandComplete(): void {
    // The line of each statement of the text. What tells the end stands behind the last.
  }

  handleError(error: Error): void {
    this.#isOver = true;
    this.#outcome.reject(error);
  }

  handleReadyForQuery(): void {
    this.#end({ isWhole: true });
  }

  #end(end: CopyEnd): void {
    this.#isOver = true;
    this.#outcome.resolve(end);
  }
}
