import type { ControlConnector } from '#core/connector.ts';
import { type Config, configSchema } from './config.ts';
import { EmbeddedControlStore } from './store.ts';

/** The control store of one machine: a SQLite file, for all processes of that machine. */
export const connector: ControlConnector<Config> = {
  kind: 'embedded',
  configSchema,
  create: ({ config, context }) => new EmbeddedControlStore({ path: config.path, runtime: context.runtime }),
};
