import type { ChangeOp } from '#core/record.ts';
import type { ApplyObserver, ApplyResult } from './observer.ts';

/** Counts what became of changes, and tells the observer in one go: a call for each change would slow the fold down. */
export class Tallies {
  readonly #counts = new Map<string, { readonly op: ChangeOp; readonly result: ApplyResult; count: number }>();

  add(op: ChangeOp, result: ApplyResult): void {
    const name = `${op} ${result}`;
    const tally = this.#counts.get(name);
    if (tally === undefined) this.#counts.set(name, { op, result, count: 1 });
    else tally.count += 1;
  }

  report(observer: ApplyObserver): void {
    for (const { op, result, count } of this.#counts.values()) observer.outcome(op, result, count);
    this.#counts.clear();
  }
}
