import { join } from 'node:path';
import { EmbeddedLog } from '../../connectors/log-embedded/log.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { realRuntime } from '../support/test-runtime.ts';
import { logContract } from './log.ts';

for (const thread of [false, true]) {
  logContract(thread ? 'embedded, written in a thread' : 'embedded', ({ partitions, bytesMax, keepBytes = 0 }) => {
    const folder = tempFolder();
    return Promise.resolve({
      open: () =>
        new EmbeddedLog({
          path: join(folder.path, 'log.db'),
          pipeline: 'orders',
          partitions,
          bytesMax: bytesMax ?? 2 ** 33,
          keepBytes,
          recordBytesMax: 2 ** 24,
          runtime: realRuntime(),
          logger: silentLogger,
          thread,
        }),
      [Symbol.asyncDispose]: () => {
        folder[Symbol.dispose]();
        return Promise.resolve();
      },
    });
  });
}
