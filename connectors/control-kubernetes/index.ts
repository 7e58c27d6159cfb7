import type { ControlConnector } from '#core/connector.ts';
import { configSchema, type Config } from './config.ts';
import { KubernetesControlStore } from './store.ts';

/** A control store for daemons of one Kubernetes cluster: its API server, and nothing else to be run. */
export const connector: ControlConnector<Config> = {
  kind: 'kubernetes',
  configSchema,
  create: ({ config, leaseTtlMs, context }) => new KubernetesControlStore({ config, leaseTtlMs, runtime: context.runtime }),
};
