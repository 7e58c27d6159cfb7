import process from 'node:process';
import { EmbeddedLog } from '../../connectors/log-embedded/log.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { realRuntime } from '../support/test-runtime.ts';

/**
 * Run as a process of its own: appends two records to each of two partitions again and again, and prints the number of each
 * append once it has resolved. Whoever started it kills it. Argument: path.
 */
const [path = ''] = process.argv.slice(2);
const never = new AbortController().signal;
const limits = { bytesMax: 2 ** 33, recordBytesMax: 2 ** 24, thread: true };
const log = new EmbeddedLog({ path, pipeline: 'orders', partitions: 2, ...limits, runtime: realRuntime(), logger: silentLogger });
await log.provision(never);
const writer = await log.writer(never);
for (let round = 0; ; round += 1) {
  const value = Buffer.from(`${round}`.repeat(50));
  await writer.append(
    [0, 0, 1, 1].map((partition) => ({ partition, key: `${round}`, value })),
    never,
  );
  process.stdout.write(`${round}\n`);
}
