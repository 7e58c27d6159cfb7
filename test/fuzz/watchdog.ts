// A thread beside the one that is fuzzed: an input that keeps the processor for ever can be told by nobody else.
import { Worker } from 'node:worker_threads';

const INPUT_BYTES_MAX = 1024 * 1024;
const HANG_MS = 20_000;

/** Runs as the thread. */
const source = `
const { workerData } = require('node:worker_threads');
const { writeFileSync } = require('node:fs');
const head = new Int32Array(workerData.shared, 0, 2);
let seen = -1;
setInterval(() => {
  const count = Atomics.load(head, 0);
  if (count !== seen) { seen = count; return; }
  const input = Buffer.from(new Uint8Array(workerData.shared, 8, Atomics.load(head, 1)));
  writeFileSync(workerData.file, input.toString('hex') + '\\n');
  writeFileSync(2, 'an input keeps the processor busy without end: ' + workerData.file + '\\n');
  process.kill(process.pid, 'SIGKILL');
}, workerData.hangMs);
`;

export class Watchdog implements AsyncDisposable {
  readonly #shared = new SharedArrayBuffer(8 + INPUT_BYTES_MAX);
  readonly #head = new Int32Array(this.#shared, 0, 2);
  readonly #bytes = new Uint8Array(this.#shared, 8);
  readonly #worker: Worker;

  /** `file`: where the input is left of which no end was seen. */
  constructor(file: string) {
    this.#worker = new Worker(source, { eval: true, workerData: { shared: this.#shared, file, hangMs: HANG_MS } });
    this.#worker.unref();
  }

  begins(input: Buffer): void {
    const length = Math.min(input.length, INPUT_BYTES_MAX);
    this.#bytes.set(input.subarray(0, length));
    Atomics.store(this.#head, 1, length);
    Atomics.add(this.#head, 0, 1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }
}
