import * as z from 'zod';

/** Part of object names and a label's value. */
const STORE_NAME = /^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/;

export const configSchema = z.strictObject({
  kind: z.literal('kubernetes'),
  namespace: z
    .string()
    .min(1)
    .optional()
    .describe("Where the Leases and ConfigMaps are kept. The pod's own namespace, as the service account's folder names it, unless set."),
  store: z
    .string()
    .regex(STORE_NAME, { message: 'is no name for a store: lower-case letters, digits and dashes, 40 at most' })
    .default('causeway')
    .describe('Begins the name of each object. Deployments with the same namespace and store share their leases.'),
  server: z
    .url({ protocol: /^https$/ })
    .default('https://kubernetes.default.svc')
    .describe('Address of the API server.'),
  serviceAccount: z
    .string()
    .min(1)
    .default('/var/run/secrets/kubernetes.io/serviceaccount')
    .describe('Folder with the files `token`, `ca.crt` and `namespace`. They are read at each request, so they may change at any time.'),
});

export type Config = z.output<typeof configSchema>;
