import type { Connectors } from '../src/config/connectors.ts';

/** Every connector that is built in, by role and kind. The only file that names them all. */
export const connectors: Connectors = {
  source: { postgres: async () => (await import('./source-postgres/index.ts')).connector },
  log: {
    embedded: async () => (await import('./log-embedded/index.ts')).connector,
    kafka: async () => (await import('./log-kafka/index.ts')).connector,
  },
  sink: {
    dynamodb: async () => (await import('./sink-dynamodb/index.ts')).connector,
    postgres: async () => (await import('./sink-postgres/index.ts')).connector,
    spanner: async () => (await import('./sink-spanner/index.ts')).connector,
  },
  control: {
    embedded: async () => (await import('./control-embedded/index.ts')).connector,
    postgres: async () => (await import('./control-postgres/index.ts')).connector,
    dynamodb: async () => (await import('./control-dynamodb/index.ts')).connector,
    kubernetes: async () => (await import('./control-kubernetes/index.ts')).connector,
  },
};
