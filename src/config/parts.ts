import * as z from 'zod';
import type { SinkConnector } from '#core/connector.ts';
import type { ConnectorRole, Connectors } from './connectors.ts';

export type JsonSchema = {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | JsonSchema;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly [key: string]: unknown;
};

/** A connector's part of the file: its schema and which of the part's keys are its own. */
export type PartSchema = {
  readonly schema: z.ZodType;
  readonly json: JsonSchema;
  /** True where the connector's schema wants to see `kind` itself. */
  readonly ownsKind: boolean;
  readonly databaseOf: (config: unknown) => string | null;
  /** Of a sink, the table that rows of a target go to. */
  readonly tableOf: NonNullable<SinkConnector<unknown>['tableOf']>;
  readonly hasSchemas: boolean;
};

export function jsonSchemaOf(schema: z.ZodType): JsonSchema {
  return z.toJSONSchema(schema, { io: 'input', target: 'draft-7', unrepresentable: 'any' }) as JsonSchema;
}

/** Loads the connector and takes its schema; null where the kind is not known. */
export async function partSchema(connectors: Connectors, role: ConnectorRole, kind: string): Promise<PartSchema | null> {
  if (!Object.hasOwn(connectors[role], kind)) return null;
  const connector = await connectors[role][kind]?.();
  if (!(connector?.configSchema instanceof z.ZodType))
    throw new TypeError(`the ${role} connector ${kind} has no schema of its configuration`);
  const json = jsonSchemaOf(connector.configSchema);
  return {
    schema: connector.configSchema,
    json,
    ownsKind: Object.hasOwn(json.properties ?? {}, 'kind'),
    databaseOf: (config) => ('databaseOf' in connector ? connector.databaseOf(config) : null),
    tableOf: (config, table) => ('tableOf' in connector ? connector.tableOf(config, table) : table.target),
    hasSchemas: !('tableOf' in connector),
  };
}

export function kindsOf(connectors: Connectors, role: ConnectorRole): readonly string[] {
  return Object.keys(connectors[role]);
}
