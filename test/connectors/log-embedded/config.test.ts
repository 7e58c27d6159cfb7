import { expect, test } from 'vitest';
import { configSchema } from '../../../connectors/log-embedded/config.ts';

const file = { kind: 'embedded', path: './log.db' };

test('a log that has no room for the newest record of each partition is refused, with the size that it needs', () => {
  expect(configSchema.safeParse(file).success).toBe(true);
  expect(configSchema.safeParse({ ...file, bytesMax: '160MiB' }).success).toBe(true);
  const { error } = configSchema.safeParse({ ...file, bytesMax: '159MiB' });
  expect(error?.issues).toMatchObject([
    { path: ['bytesMax'], params: { mend: 'Set it to 160MiB at least, or set a lower recordBytesMax or fewer partitions.' } },
  ]);
  expect(configSchema.safeParse({ ...file, bytesMax: '4MiB', recordBytesMax: '64KiB', partitions: 1 }).success).toBe(true);
});
