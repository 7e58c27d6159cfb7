import type { ControlConnector } from '#core/connector.ts';
import { configSchema, type Config } from './config.ts';
import { DynamoControlStore } from './store.ts';

/** A control store for daemons in several places: one table of DynamoDB. */
export const connector: ControlConnector<Config> = {
  kind: 'dynamodb',
  configSchema,
  create: ({ config, leaseTtlMs, context }) => new DynamoControlStore({ config, leaseTtlMs, runtime: context.runtime }),
};
