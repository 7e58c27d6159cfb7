import type { SinkCall } from '../../support/memory-sink.ts';
import type { Scene } from './scene.ts';

/** One array of messages may come on top of what may wait: its size is known only once it is encoded. */
const ARRAY_BYTES_MAX = 60_000;

/** O2: what waits for the log and what goes to a sink at once stay within the configured limits, whatever a transaction's size. */
export class BoundsChecker {
  readonly #scene: Scene;

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  queue(bytes: number, bytesMax: number): void {
    if (bytes > bytesMax + ARRAY_BYTES_MAX) this.#scene.fail('O2', `${bytes} bytes wait for the log, of at most ${bytesMax}`);
  }

  batch(sink: string, call: SinkCall & { readonly name: 'apply' }): void {
    const { batchRowsMax } = this.#scene.plan.limits;
    if (call.rows.length > batchRowsMax) this.#scene.fail('O2', `${sink}: a batch of ${call.rows.length} rows, of at most ${batchRowsMax}`);
  }
}
