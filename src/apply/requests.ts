import { controlKeys } from '#core/control-rows.ts';
import type { RequestRow } from '#core/control-rows.ts';
import type { ControlKey, ControlRow } from '#core/control.ts';
import type { RowKey } from '#core/key.ts';
import type { ApplyDeps } from './deps.ts';

/** `args` of a `dlq-replay` and a `dlq-discard` request. The answers are the daemon's: one for each partition. */
export type DeadLetterRequestArgs = {
  readonly sink: string;
  /** Null for every parked key of the sink. */
  readonly keys: readonly RowKey[] | null;
  readonly answers?: Readonly<Record<string, DeadLetterAnswer>>;
};

export type DeadLetterAnswer = {
  /** Keys that are not parked any more. */
  readonly released: number;
  /** Keys that stay parked, by the code that says why. */
  readonly kept: Readonly<Record<string, number>>;
};

export type DeadLetterRequestKind = Extract<RequestRow['kind'], `dlq-${string}`>;

function isDeadLetterKind(kind: RequestRow['kind']): kind is DeadLetterRequestKind {
  return kind === 'dlq-replay' || kind === 'dlq-discard';
}

/** A partition's share of a request. */
export type DeadLetterTask = { readonly kind: DeadLetterRequestKind; readonly keys: readonly RowKey[] | null };

export type RequestHandler = (task: DeadLetterTask) => Promise<DeadLetterAnswer>;

type OpenRequest = { readonly key: ControlKey; readonly task: DeadLetterTask; readonly answered: ReadonlySet<string> };

/**
 * Requests wait in the control store. Each worker answers for its own partition, because it alone may release a key; the
 * request is done once every partition has its answer, whichever process that worker ran in.
 */
export class RequestDesk {
  readonly #deps: ApplyDeps;
  #open: readonly OpenRequest[] = [];

  constructor(deps: ApplyDeps) {
    this.#deps = deps;
  }

  /** True where a request waits for this partition, as of the last look. */
  waitsFor(partition: number): boolean {
    return this.#open.some((request) => !request.answered.has(String(partition)));
  }

  /** Looks into the control store. Returns every request of the pipeline. */
  async look(signal: AbortSignal): Promise<readonly ControlRow[]> {
    const { control, pipeline, sinkName } = this.#deps;
    const open: OpenRequest[] = [];
    const found = await control.list(controlKeys.requests(pipeline), signal);
    for (const { key, value } of found) {
      const request = value as RequestRow;
      const args = request.args as DeadLetterRequestArgs;
      if (!isDeadLetterKind(request.kind) || request.state !== 'pending' || args.sink !== sinkName) continue;
      open.push({ key, task: { kind: request.kind, keys: args.keys }, answered: new Set(Object.keys(args.answers ?? {})) });
    }
    this.#open = open;
    return found;
  }

  async serve(partition: number, handle: RequestHandler, signal: AbortSignal): Promise<void> {
    for (const request of this.#open) {
      if (request.answered.has(String(partition))) continue;
      try {
        await this.#answer(request.key, { partition, answer: await handle(request.task) }, signal);
      } catch (error) {
        // Not answered: the next look finds it again.
        this.#open = [];
        throw error;
      }
      this.#open = this.#open.map((other) =>
        other.key === request.key ? { ...other, answered: new Set([...other.answered, String(partition)]) } : other,
      );
    }
  }

  async #answer(
    key: ControlKey,
    given: { readonly partition: number; readonly answer: DeadLetterAnswer },
    signal: AbortSignal,
  ): Promise<void> {
    while (true) {
      const stored = await this.#deps.control.get(key, signal);
      if (stored === null) return;
      const request = stored.value as RequestRow;
      const args = request.args as DeadLetterRequestArgs;
      const answers = { ...args.answers, [String(given.partition)]: given.answer };
      const complete = Object.keys(answers).length >= this.#deps.log.partitions;
      const value: RequestRow = {
        ...request,
        args: { ...args, answers },
        state: complete ? 'done' : 'pending',
        result: complete ? resultOf(Object.values(answers)) : null,
      };
      const swap = await this.#deps.control.swap({ key, value, expected: stored.version }, signal);
      if (swap.tag === 'stored') return;
    }
  }
}

function resultOf(answers: readonly DeadLetterAnswer[]): string {
  let released = 0;
  const kept = new Map<string, number>();
  for (const answer of answers) {
    released += answer.released;
    for (const [code, keys] of Object.entries(answer.kept)) kept.set(code, (kept.get(code) ?? 0) + keys);
  }
  const left = [...kept].map(([code, keys]) => `${keys} ${keys === 1 ? 'key stays' : 'keys stay'} parked: ${code}`);
  return [`${released} ${released === 1 ? 'key' : 'keys'} released`, ...left].join('; ');
}
