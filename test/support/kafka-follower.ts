import type { Log, LogReader, PartitionAssignment } from '#core/log.ts';
import type { Offset } from '#core/position.ts';

/** Reads whatever partitions one member of a consumer group is given, as a worker would, and keeps what happened. */
export class Follower implements AsyncDisposable {
  readonly held = new Map<number, PartitionAssignment>();
  /** Partitions in the order in which they were given, and taken away. */
  readonly given: number[] = [];
  readonly lost: number[] = [];
  readonly seen: { readonly partition: number; readonly offset: number; readonly text: string }[] = [];
  readonly errors: unknown[] = [];
  readonly #reader: LogReader;
  readonly #end = new AbortController();
  readonly #works = new Set<Promise<void>>();
  readonly #from: number;
  #changed = Promise.withResolvers<undefined>();

  private constructor(reader: LogReader, from: number) {
    this.#reader = reader;
    this.#from = from;
    this.#works.add(this.#run());
  }

  static async start(log: Log, input: { readonly consumer?: string; readonly from?: number } = {}): Promise<Follower> {
    return new Follower(await log.reader(input.consumer ?? 'warm', new AbortController().signal), input.from ?? 0);
  }

  texts(partition: number): readonly string[] {
    return this.seen.filter((one) => one.partition === partition).map(({ text }) => text);
  }

  /** Looks after each thing that happens. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await this.#changed.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort(new Error('the follower ended'));
    await Promise.all(this.#works);
    await this.#reader[Symbol.asyncDispose]();
  }

  async #run(): Promise<void> {
    try {
      for await (const assignment of this.#reader.assignments(this.#end.signal)) {
        const { partition, revoked } = assignment;
        this.held.set(partition, assignment);
        this.given.push(partition);
        revoked.addEventListener('abort', () => {
          if (this.held.get(partition) === assignment) this.held.delete(partition);
          this.lost.push(partition);
          this.#tell();
        });
        this.#works.add(this.#follow(assignment));
        this.#tell();
      }
    } catch (error) {
      this.#failed(error);
    }
  }

  async #follow(assignment: PartitionAssignment): Promise<void> {
    const { partition, revoked } = assignment;
    try {
      for await (const { records } of assignment.batches(this.#from as Offset, this.#end.signal)) {
        for (const { offset, value } of records) this.seen.push({ partition, offset, text: Buffer.from(value).toString() });
        this.#tell();
      }
    } catch (error) {
      if (!revoked.aborted) this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    if (this.#end.signal.aborted) return;
    this.errors.push(error);
    this.#tell();
  }

  #tell(): void {
    this.#changed.resolve(undefined);
    this.#changed = Promise.withResolvers<undefined>();
  }
}
