import * as z from 'zod';
import { checkRegion, endpointField, regionField } from '../lib/dynamodb/region.ts';

/** https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html */
const TABLE_NAME = /^[a-zA-Z0-9_.-]{3,255}$/;
const STORE_NAME = /^[a-z0-9][a-z0-9_-]{0,39}$/;

export const configSchema = z
  .strictObject({
    kind: z.literal('dynamodb'),
    region: regionField.describe('Region of the table, such as `eu-west-1`. Not the one of a source: the table has to outlive it.'),
    table: z
      .string()
      .regex(TABLE_NAME, { message: 'is no name for a table: 3 to 255 letters, digits, dots, underscores and dashes' })
      .default('causeway_control')
      .describe('Name of the table. It may hold the stores of several deployments.'),
    store: z
      .string()
      .regex(STORE_NAME, { message: 'is no name for a store: lower-case letters, digits, underscores and dashes, 40 at most' })
      .default('causeway')
      .describe('Partition key of the rows. Deployments with the same table and store share their leases.'),
    endpoint: endpointField,
    provision: z
      .enum(['create', 'check'])
      .default('check')
      .describe('`create` makes the table where it is missing; `check` refuses and prints the command that makes it.'),
  })
  .superRefine(checkRegion);

export type Config = z.output<typeof configSchema>;
