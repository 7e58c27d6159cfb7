import { z } from 'zod';

export const configSchema = z.strictObject({
  kind: z.literal('embedded'),
  path: z
    .string()
    .min(1)
    .describe('File that leases, checkpoints and the state of tables and sinks are kept in. Not on a network file system.'),
});

export type Config = z.infer<typeof configSchema>;
