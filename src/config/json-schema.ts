import type { ConnectorRole, Connectors } from './connectors.ts';
import { jsonSchemaOf, kindsOf, partSchema, type JsonSchema } from './parts.ts';
import { fileSchema, logOwnKeys, sinkOwnKeys, sourceOwnKeys } from './schema.ts';
import * as z from 'zod';

/** The JSON Schema of the whole file with every connector that is built in, for editors and for the documentation. */
export async function fullJsonSchema(connectors: Connectors): Promise<JsonSchema> {
  const base = jsonSchemaOf(fileSchema);
  const pipelines = base.properties?.['pipelines'];
  const pipeline = pipelines?.additionalProperties;
  if (pipelines === undefined || typeof pipeline !== 'object') throw new TypeError('the schema of the file has no pipelines');
  const sinks = pipeline.properties?.['sinks'];
  if (sinks === undefined) throw new TypeError('the schema of a pipeline has no sinks');
  const own = (keys: z.core.$ZodLooseShape): JsonSchema => jsonSchemaOf(z.strictObject(keys));
  const source = await partJsonSchema(connectors, 'source', own(sourceOwnKeys));
  const sink = await partJsonSchema(connectors, 'sink', own(sinkOwnKeys));
  return {
    ...base,
    title: 'Causeway configuration',
    properties: {
      ...base.properties,
      control: described(await partJsonSchema(connectors, 'control', {}), base.properties?.['control']),
      pipelines: {
        ...pipelines,
        additionalProperties: {
          ...pipeline,
          properties: {
            ...pipeline.properties,
            source: described(source, pipeline.properties?.['source']),
            log: described(await partJsonSchema(connectors, 'log', own(logOwnKeys)), pipeline.properties?.['log']),
            sinks: { ...sinks, additionalProperties: sink },
          },
        },
      },
    },
  };
}

async function partJsonSchema(connectors: Connectors, role: ConnectorRole, own: JsonSchema): Promise<JsonSchema> {
  const kinds: JsonSchema[] = [];
  for (const kind of kindsOf(connectors, role)) {
    const part = await partSchema(connectors, role, kind);
    if (part === null) continue;
    const { $schema: _, ...json } = part.json;
    kinds.push({
      ...json,
      properties: {
        kind: { type: 'string', const: kind, description: 'Which connector.' },
        ...withoutKind(json.properties ?? {}),
        ...own.properties,
      },
      required: ['kind', ...(json.required ?? []).filter((key) => key !== 'kind'), ...(own.required ?? [])],
      additionalProperties: false,
    });
  }
  return kinds.length === 1 && kinds[0] !== undefined ? kinds[0] : { oneOf: kinds };
}

function withoutKind(properties: Readonly<Record<string, JsonSchema>>): Readonly<Record<string, JsonSchema>> {
  const { kind: _, ...others } = properties;
  return others;
}

function described(schema: JsonSchema, from: JsonSchema | undefined): JsonSchema {
  return from?.description === undefined ? schema : { ...schema, description: from.description };
}
