import { assert } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import type { Runtime } from '#core/runtime.ts';

/** A renewal that hangs has to leave time for another one, on another connection, before the holder's deadline. */
const CALLS_PER_TTL = 3;
const CALL_MS_MAX = 10_000;

/** Made once: without a reason, each abort makes an error with its stack. */
const DONE = new Error('the call has ended');

/** How long one call to a control store may take, where the shortest lease of all pipelines is `leaseTtlMs`. */
export function callMsFor(leaseTtlMs: number): number {
  return Math.min(Math.floor(leaseTtlMs / CALLS_PER_TTL), CALL_MS_MAX);
}

/**
 * Runs a call whose own signal aborts when `signal` does or the time is over: then with `control_unavailable`, and nobody knows
 * whether the call took effect. `work` has to end soon after its signal.
 */
export async function withinTime<T>(
  of: { readonly runtime: Runtime; readonly callMs: number; readonly what: string },
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const call = new AbortController();
  const over = new AbortController();
  const abort = (): void => call.abort(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  const timer = of.runtime.sleep(of.callMs, over.signal).then(
    () => call.abort(new CausewayError('control_unavailable', `${of.what} gave no answer within ${of.callMs} ms`)),
    () => undefined,
  );
  try {
    return await work(call.signal);
  } catch (error) {
    call.signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
    over.abort(DONE);
    await timer;
  }
}

/** A row's value as the text that is stored. */
export function jsonText(value: unknown): string {
  const text: unknown = JSON.stringify(value);
  assert(typeof text === 'string', 'a control row holds JSON');
  return text;
}
