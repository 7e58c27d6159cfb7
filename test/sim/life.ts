import type { MonoMs } from '#core/position.ts';
import type { EventLoop } from './event-loop.ts';

/** One run of a daemon's process, from its start to its death. */
export class Life {
  readonly daemon: number;
  /** Counts the runs of all daemons, from 1. */
  readonly id: number;
  readonly #loop: EventLoop;
  readonly #rate: number;
  readonly #bornMs: number;
  readonly #ended: (() => void)[] = [];
  /** What reached the process while it was held, in order. */
  #held: (() => void)[] | null = null;
  #heldSinceMs = 0;
  #clockStands = false;
  #stoodMs = 0;
  #dead = false;
  #stream: (() => void) | null = null;

  constructor(input: { readonly daemon: number; readonly id: number; readonly loop: EventLoop; readonly rate: number }) {
    this.daemon = input.daemon;
    this.id = input.id;
    this.#loop = input.loop;
    this.#rate = input.rate;
    this.#bornMs = input.loop.nowMs;
  }

  get dead(): boolean {
    return this.#dead;
  }

  get held(): boolean {
    return this.#held !== null;
  }

  /** On this process's own monotonic clock. */
  get monotonicMs(): MonoMs {
    const standing = this.#held !== null && this.#clockStands ? this.#loop.nowMs - this.#heldSinceMs : 0;
    return (1_000 + (this.#loop.nowMs - this.#bornMs - this.#stoodMs - standing) * this.#rate) as MonoMs;
  }

  /** How long the world waits for `ms` of this process's clock. */
  worldMs(ms: number): number {
    return ms / this.#rate;
  }

  onEnd(act: () => void): void {
    this.#ended.push(act);
  }

  /** The connection to the source, as long as there is one: what cuts it off. */
  set stream(cut: (() => void) | null) {
    this.#stream = cut;
  }

  cutStream(): void {
    this.#stream?.();
  }

  /** Hands something to the process: at once, when it is let go, or never. */
  deliver(act: () => void): void {
    if (this.#dead) return;
    if (this.#held === null) act();
    else this.#held.push(act);
  }

  /** Resolves as soon as the process runs. */
  turn(): Promise<void> {
    return new Promise((resolve) => this.deliver(resolve));
  }

  hold(clock: 'runs' | 'stands'): void {
    if (this.#dead || this.#held !== null) return;
    this.#held = [];
    this.#heldSinceMs = this.#loop.nowMs;
    this.#clockStands = clock === 'stands';
  }

  letGo(): void {
    const held = this.#held;
    if (held === null || this.#dead) return;
    if (this.#clockStands) this.#stoodMs += this.#loop.nowMs - this.#heldSinceMs;
    this.#held = null;
    // Each in an event of its own, so that one is not handed over in the middle of another's work.
    for (const act of held) this.#loop.in(0, () => this.deliver(act));
  }

  /** Nothing of it is heard of any more. What it has sent goes on its way. */
  die(): void {
    if (this.#dead) return;
    this.#dead = true;
    this.#held = null;
    for (const act of this.#ended) act();
  }
}

/** What a process that has died gets from every call. */
export function nothing<T>(): Promise<T> {
  return new Promise<T>(() => undefined);
}
