import { createReadStream } from 'node:fs';
import { appendFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { murmur2 } from '#core/hash.ts';
import type { RowKey } from '#core/key.ts';
import type { Spill, SpilledRow } from '../reconcile/spill.ts';

const BUCKETS = 256;
const LINES_AT_ONCE = 1_000;
/** Text that waits to be written, over all buckets. */
const BUFFERED_MAX = 4 * 1024 * 1024;

/** Line ends to `node:readline`, which JSON leaves as they are. */
const SEPARATORS = /[\u2028\u2029]/g;
const escaped = (separator: string): string => (separator === '\u2028' ? '\\u2028' : '\\u2029');

const utf8 = new TextEncoder();

/** Files in a folder of their own, which only this user may read, made when they are first needed and removed at the end. */
export class SpillFiles implements Spill {
  readonly buckets = BUCKETS;
  #folder: Promise<string> | null = null;
  #lines = new Map<string, string[]>();
  #buffered = 0;

  async append(side: 'source' | 'sink', lines: readonly SpilledRow[]): Promise<void> {
    for (const { key, digest } of lines) {
      const name = nameOf(side, (murmur2(utf8.encode(key)) & 0x7fff_ffff) % BUCKETS);
      const line = `${JSON.stringify([key, digest]).replace(SEPARATORS, escaped)}\n`;
      const waiting = this.#lines.get(name);
      if (waiting === undefined) this.#lines.set(name, [line]);
      else waiting.push(line);
      this.#buffered += line.length;
    }
    if (this.#buffered > BUFFERED_MAX) await this.#write();
  }

  async *read(side: 'source' | 'sink', bucket: number): AsyncIterable<readonly SpilledRow[]> {
    await this.#write();
    if (this.#folder === null) return;
    const path = join(await this.#folder, nameOf(side, bucket));
    let some: SpilledRow[] = [];
    try {
      for await (const line of createInterface({ input: createReadStream(path, 'utf8'), crlfDelay: Number.POSITIVE_INFINITY })) {
        const [key, digest] = JSON.parse(line) as [RowKey, string];
        some.push({ key, digest });
        if (some.length < LINES_AT_ONCE) continue;
        yield some;
        some = [];
      }
    } catch (error) {
      // A bucket that nothing fell into.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
    yield some;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#folder !== null) await rm(await this.#folder, { recursive: true, force: true });
  }

  async #write(): Promise<void> {
    if (this.#buffered === 0) return;
    this.#folder ??= mkdtemp(join(tmpdir(), 'causeway-reconcile-'));
    const folder = await this.#folder;
    const all = this.#lines;
    this.#lines = new Map();
    this.#buffered = 0;
    for (const [name, lines] of all) await appendFile(join(folder, name), lines.join(''), { mode: 0o600 });
  }
}

function nameOf(side: 'source' | 'sink', bucket: number): string {
  return `${side}-${bucket}`;
}
