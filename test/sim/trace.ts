import type { Life } from './life.ts';
import type { CallFault } from './plan.ts';
import type { Site } from './sites.ts';

/** What happened in a run: always as one number, and as lines where somebody wants to read them. */
export class Trace {
  readonly lines: string[] | null;
  #hash = 0x811c9dc5;

  constructor(options: { readonly keep: boolean }) {
    this.lines = options.keep ? [] : null;
  }

  /** The same for two runs in which the same happened at the same times. */
  get hash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, '0');
  }

  call(life: Life, { site, index }: { readonly site: Site; readonly index: number }, nowMs: number): void {
    this.#mix(index);
    this.#mix(life.id);
    this.#mix(Math.round(nowMs * 1_000));
    // Calls that answer at once are too many to be read.
    if (this.lines !== null && !site.startsWith('runtime.')) this.say(nowMs, life, site);
  }

  fault(life: Life, fault: CallFault, nowMs: number): void {
    this.#mix(0x5eed);
    if (this.lines !== null) this.say(nowMs, life, `!! ${fault.kind} ${fault.site} (${fault.ms} ms)`);
  }

  say(nowMs: number, life: Life | null, text: string): void {
    this.lines?.push(`${nowMs.toFixed(3).padStart(11)} ${life === null ? '     ' : `${life.daemon}#${life.id}`.padEnd(5)} ${text}`);
  }

  #mix(value: number): void {
    this.#hash = Math.imul(this.#hash ^ value, 0x01000193) ^ (value >>> 13);
  }
}
