import * as z from 'zod';
import type { Connectors } from '../../src/config/connectors.ts';

function missing(): never {
  throw new Error('these connectors have a configuration and nothing else');
}

function databaseOf(config: unknown): string | null {
  const { url } = config as { readonly url: string };
  if (!URL.canParse(url)) return null;
  const { hostname, port, pathname } = new URL(url);
  return `${hostname}:${port === '' ? '5432' : port}${pathname}`;
}

/** Connectors of which only the configuration is real: what the loader needs. */
export const fakeConnectors: Connectors = {
  source: {
    postgres: () =>
      Promise.resolve({
        kind: 'postgres',
        configSchema: z.strictObject({
          url: z.string().describe('Address of the database.'),
          slot: z.string().optional(),
          publication: z.string().optional(),
          port: z.int().optional().describe('A number.'),
        }),
        databaseOf,
        create: missing,
      }),
  },
  log: {
    embedded: () =>
      Promise.resolve({
        kind: 'embedded',
        configSchema: z
          .strictObject({ path: z.string(), partitions: z.int().min(1).default(4) })
          .transform((input) => ({ resolved: input })),
        create: missing,
      }),
    kafka: () =>
      Promise.resolve({
        kind: 'kafka',
        configSchema: z.strictObject({ brokers: z.array(z.string()), topic: z.string(), requestTimeout: z.string().optional() }),
        create: missing,
      }),
  },
  sink: {
    postgres: () =>
      Promise.resolve({
        kind: 'postgres',
        configSchema: z.strictObject({ kind: z.literal('postgres'), url: z.string(), password: z.string().optional() }),
        databaseOf,
        create: missing,
      }),
  },
  control: {
    embedded: () =>
      Promise.resolve({ kind: 'embedded', configSchema: z.strictObject({ path: z.string().describe('The file.') }), create: missing }),
    postgres: () => Promise.resolve({ kind: 'postgres', configSchema: z.strictObject({ url: z.string() }), databaseOf, create: missing }),
  },
};

export const goodFile = `version: 1
control: { kind: embedded, path: ./data/control.db }
http: { listen: 127.0.0.1:0 }
pipelines:
  orders:
    source:
      kind: postgres
      url: \${SOURCE_URL}
      tables:
        - public.orders
        - public.order_lines
        - { name: archive.*, snapshot: never, target: old.* }
        - "!archive.scratch"
    log: { kind: embedded, path: ./data/orders.log }
    sinks:
      warm:
        kind: postgres
        url: postgres://writer:hunter2@warm/db
        deadLetter: { parkedKeysMax: 7 }
        slo: { freshness: 60s }
`;
