import * as z from 'zod';

/** Identifiers longer than this are cut by Postgres (NAMEDATALEN). */
const NAME_BYTES_MAX = 63;

/** The name of a schema that a connector keeps for itself; its default and its description are the connector's. */
export const ownSchema = z
  .string()
  .min(1)
  .refine((name) => Buffer.byteLength(name) <= NAME_BYTES_MAX && !name.startsWith('pg_'), {
    message: 'is no name for a schema',
    params: { mend: `Take a name of at most ${NAME_BYTES_MAX} bytes that does not begin with pg_.` },
  });
