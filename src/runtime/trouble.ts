import { codeOf, policyFor, type ErrorCode } from '#core/errors.ts';
import type { Runtime } from '#core/runtime.ts';
import type { Trouble } from '../http/status-document.ts';

/** For the status: code, words, mend, and since when. Words never hold a value. */
export function troubleOf(code: ErrorCode, message: string, sinceWallMs: number): Trouble {
  return { code, message, mend: policyFor(code).mend, sinceWallMs };
}

/** Why something does not run, for the status. A state keeps the time at which it began. */
export class TroubleCell {
  readonly #runtime: Pick<Runtime, 'wallMs'>;
  #trouble: Trouble | null = null;

  constructor(runtime: Pick<Runtime, 'wallMs'>) {
    this.#runtime = runtime;
  }

  get(): Trouble | null {
    return this.#trouble;
  }

  /** True where it waits for a person, false where it passes by itself. */
  get manual(): boolean {
    return this.#trouble !== null && policyFor(this.#trouble.code as Parameters<typeof policyFor>[0]).retry !== 'timed';
  }

  set(error: unknown): void {
    const code = codeOf(error);
    const message = error instanceof Error ? error.message : String(error);
    const sinceWallMs = this.#trouble?.code === code ? this.#trouble.sinceWallMs : this.#runtime.wallMs();
    this.#trouble = troubleOf(code, message, sinceWallMs);
  }

  clear(): void {
    this.#trouble = null;
  }
}
