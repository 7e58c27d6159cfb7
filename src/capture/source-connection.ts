import { backoffMs, CausewayError, type ErrorCode } from '#core/errors.ts';
import type { SourceStream } from '#core/source.ts';
import type { FirstStart } from './first-start.ts';
import { connect, type Connected } from './open.ts';
import type { OwnRecords } from './own-records.ts';

/** Ridden out in the same generation: the source is tried again, and what was not acknowledged is sent again. */
const RIDDEN_OUT: ReadonlySet<ErrorCode> = new Set(['source_unavailable', 'source_slot_in_use', 'source_credentials']);

/** `own`: null at the generation's first connect. `failures`: how often it failed just before; a source that breaks each connection at once is not asked without a pause. */
export async function connectPatiently(
  start: FirstStart,
  of: { readonly own: OwnRecords | null; readonly failures: number },
  signal: AbortSignal,
): Promise<Connected> {
  const { runtime, observer, options } = start.deps;
  const { reconnectFirstMs: firstMs, reconnectMaxMs: maxMs } = options;
  for (let failures = of.failures; ; failures += 1) {
    try {
      if (failures > 0) await runtime.sleep(backoffMs({ attempt: failures - 1, firstMs, maxMs, random: runtime.random() }), signal);
      return await connect(start, of.own, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!isRiddenOut(error)) throw error;
      observer.trouble(error, 'connecting to the source');
      observer.state({ tag: 'reconnecting', generation: start.owner.generation, code: error.code, message: error.message });
    }
  }
}

export function isRiddenOut(error: unknown): error is CausewayError {
  return error instanceof CausewayError && RIDDEN_OUT.has(error.code);
}

/** The connection that holds the slot; absent while it is being taken again. */
export class StreamHolder {
  #stream: SourceStream | null;

  constructor(stream: SourceStream) {
    this.#stream = stream;
  }

  get stream(): SourceStream | null {
    return this.#stream;
  }

  hold(stream: SourceStream): void {
    this.#stream = stream;
  }

  async drop(): Promise<void> {
    const stream = this.#stream;
    this.#stream = null;
    await stream?.[Symbol.asyncDispose]();
  }
}
