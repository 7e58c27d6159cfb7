import { assert } from '#core/assert.ts';

/** Holds whoever uses a partition to the port's rule: the next call comes when the last one has ended. */
export class OneAtATime {
  #busy = false;

  async run<T>(work: () => Promise<T>): Promise<T> {
    assert(!this.#busy, 'one call at a time for a partition');
    this.#busy = true;
    try {
      return await work();
    } finally {
      this.#busy = false;
    }
  }
}
