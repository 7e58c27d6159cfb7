import { z } from 'zod';
import { parseBytes } from '#core/quantity.ts';

const GIB = 1024 ** 3;

/** A block of records, or one record; the newest block of each partition stays however far its readers are. */
const BLOCK_BYTES_MIN = 1024 ** 2;
/** For the pages and the tree around the blocks, and as much again so that capture waits for a sink rather than for one block. */
const ROOM = 2;

const fields = z.strictObject({
  kind: z.literal('embedded'),
  path: z.string().min(1).describe('File that holds the changes which a sink still needs. Not on a network file system.'),
  partitions: z.int().min(1).max(512).default(4).describe('Fixed for the life of the file.'),
  bytesMax: sizeText('1MiB', '64TiB')
    .default(8 * GIB)
    .describe('Size at which capture waits, because a sink is behind; dead letters come on top. `8GiB` unless set.'),
  keepBytes: sizeText('0B', '64TiB')
    .optional()
    .describe(
      'About how much of what every sink has taken stays, for a sink that goes back (a replica that was behind takes over, a restore). ' +
        'Shared evenly by the partitions, and given up, the oldest first, before capture waits. A quarter of `bytesMax` unless set, `1GiB` at most.',
    ),
  recordBytesMax: sizeText('64KiB', '256MiB')
    .default(16 * 1024 ** 2)
    .describe('A change that is larger is published without its values. `16MiB` unless set.'),
});

export const configSchema = fields.superRefine(({ bytesMax, partitions, recordBytesMax }, context) => {
  const least = ROOM * (partitions + 1) * Math.max(recordBytesMax, BLOCK_BYTES_MIN);
  if (bytesMax >= least) return;
  context.addIssue({
    code: 'custom',
    path: ['bytesMax'],
    message: `has no room for the newest record of each partition, which takes up to ${mebibytes(least)}`,
    params: { mend: `Set it to ${mebibytes(least)} at least, or set a lower recordBytesMax or fewer partitions.` },
  });
});

export function keepBytesDefault(bytesMax: number): number {
  return Math.min(bytesMax / 4, GIB);
}

export type Config = z.output<typeof configSchema>;

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 1024 ** 2)}MiB`;
}

/** `8GiB` in the file, bytes in the resolved configuration. */
function sizeText(min: string, max: string): z.ZodType<number, string> {
  const minBytes = parseBytes(min) ?? 0;
  const maxBytes = parseBytes(max) ?? Number.MAX_SAFE_INTEGER;
  return z.string().transform((text, context) => {
    const bytes = parseBytes(text);
    if (bytes !== null && bytes >= minBytes && bytes <= maxBytes) return bytes;
    context.addIssue({
      code: 'custom',
      message: bytes === null ? 'is not a size' : `must be between ${min} and ${max}`,
      params: { mend: `Write a number with its unit (KiB, MiB, GiB), from ${min} to ${max}, such as 8GiB.` },
    });
    return z.NEVER;
  });
}
