import { CausewayError, codeOf } from '#core/errors.ts';
import { untilBeatMs } from '#core/runtime.ts';
import type { CaptureDeps } from './deps.ts';
import { heartbeatsFell } from './lineage.ts';

/** An idle source's slot moves, and its time is known, because something of ours passes through its log now and then. */
export class Heartbeats {
  readonly #deps: CaptureDeps;
  #counted: number | undefined;

  /** `counted`: what the source had counted by the checkpoint. */
  constructor(deps: CaptureDeps, counted: number | undefined) {
    this.#deps = deps;
    this.#counted = counted;
  }

  get counted(): number | undefined {
    return this.#counted;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { source, runtime, observer, options } = this.#deps;
    while (true) {
      const startedMs = runtime.monotonicMs();
      const startedWallMs = runtime.wallMs();
      await rideOut({ deps: this.#deps, during: 'heartbeat' }, signal, async () => {
        const { at, counter } = await source.heartbeat(signal);
        const roundTripMs = runtime.monotonicMs() - startedMs;
        observer.sourceClock({ offsetMicros: Math.round(at - (startedWallMs + roundTripMs / 2) * 1000), roundTripMs });
        if (counter !== null) this.#count(counter);
      });
      await runtime.sleep(untilBeatMs(options.heartbeatIntervalMs, runtime.monotonicMs()), signal);
    }
  }

  /** A server that was exchanged for an older copy of itself while it was away would count on from there. */
  #count(now: number): void {
    const known = this.#counted;
    if (known !== undefined && now <= known) throw new CausewayError('source_identity_changed', heartbeatsFell({ known, now }));
    this.#counted = now;
  }
}

/**
 * What the source refuses beside the stream ends nothing: the stream itself shows when it is grave. Another source it would not show. Returns
 * whether nothing was refused.
 */
export async function rideOut(
  of: { readonly deps: CaptureDeps; readonly during: string },
  signal: AbortSignal,
  act: () => Promise<void>,
): Promise<boolean> {
  try {
    await act();
    return true;
  } catch (error) {
    signal.throwIfAborted();
    if (!codeOf(error).startsWith('source_') || codeOf(error) === 'source_identity_changed') throw error;
    of.deps.observer.trouble(error, of.during);
    return false;
  }
}
