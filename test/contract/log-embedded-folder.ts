import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach } from 'vitest';
import { present } from '#core/assert.ts';
import { EmbeddedLog, type EmbeddedLogInput } from '../../connectors/log-embedded/log.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { type TempFolder, tempFolder } from '../support/temp-folder.ts';
import { realRuntime } from '../support/test-runtime.ts';
import { never, record } from './log-support.ts';

/** A folder with the file of a log of two partitions, for each test of the suite that calls this. */
export class LogFolder {
  #folder: TempFolder | null = null;

  constructor() {
    beforeEach(() => {
      this.#folder = tempFolder();
    });
    afterEach(() => this.#folder?.[Symbol.dispose]());
  }

  get root(): string {
    return present(this.#folder, 'the folder of the test').path;
  }

  get path(): string {
    return join(this.root, 'log.db');
  }

  open(over: Partial<EmbeddedLogInput> = {}): EmbeddedLog {
    const limits = { partitions: 2, bytesMax: 2 ** 33, keepBytes: 0, recordBytesMax: 2 ** 24, thread: false };
    return new EmbeddedLog({ path: this.path, pipeline: 'orders', ...limits, runtime: realRuntime(), logger: silentLogger, ...over });
  }

  /** A log with this many records in partition 0, each in a block of its own, closed. */
  async made(records: number): Promise<void> {
    await using log = this.open();
    await log.provision(never);
    const writer = await log.writer(never);
    for (let index = 0; index < records; index += 1) await writer.append([record(0, `r${index}`)], never);
  }

  alter(sql: string): void {
    using database = new DatabaseSync(this.path);
    database.exec(sql);
  }
}
