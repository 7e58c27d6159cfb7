import type { TableId } from '#core/schema.ts';
import type { PartConfig } from './config.ts';
import type { ConnectorRole, Connectors } from './connectors.ts';
import { mistakesOf } from './mistakes.ts';
import { kindsOf, partSchema } from './parts.ts';
import { pathKey, pathText, type ConfigPath, type Mistake, type ReadFile } from './read.ts';
import { validate } from './validate.ts';

export type PartInput = PartConfig & {
  /** One text for one database; null where the part does not tell. */
  readonly database: string | null;
  /** Of a sink, the table that rows of a target go to. */
  readonly tableOf: (table: NamedTable) => string;
  /** False where tables of all schemas have names of their own, made from those of the source. */
  readonly hasSchemas: boolean;
};

type NamedTable = { readonly pipeline: string; readonly sink: string; readonly target: TableId };

type PartToParse = {
  readonly role: ConnectorRole;
  readonly path: ConfigPath;
  readonly raw: Readonly<Record<string, unknown>>;
  /** Keys of the part that are not the connector's. */
  readonly ownKeys: readonly string[];
};

/** A secret can have come into its place, by a reference or by a mistake with quotes or indentation. */
function namedKind(kind: string, place: ConfigPath, read: ReadFile): string {
  return /^[a-z][a-z0-9-]{0,30}$/.test(kind) && !read.expansions.has(pathKey(place)) ? `the kind ${kind}` : 'this kind';
}

/** Validates a connector's part with the connector's own schema. */
export async function parsePart(
  { role, path, raw, ownKeys }: PartToParse,
  context: { readonly file: string; readonly read: ReadFile; readonly connectors: Connectors },
): Promise<{ readonly part: PartInput | null; readonly mistakes: readonly Mistake[] }> {
  const { file, read, connectors } = context;
  const kind = String(raw['kind']);
  const schema = await partSchema(connectors, role, kind);
  if (schema === null) {
    const place = [...path, 'kind'];
    const mend = `Known here: ${kindsOf(connectors, role).join(', ')}.`;
    return {
      part: null,
      mistakes: [
        {
          file,
          ...read.placeOf(place, 'value'),
          path: pathText(place),
          message: `there is no ${role} of ${namedKind(kind, place, read)}`,
          mend,
        },
      ],
    };
  }
  const hidden = new Set(
    [...ownKeys, ...(schema.ownsKind ? [] : ['kind'])].filter((key) => key === 'kind' || !Object.hasOwn(schema.json.properties ?? {}, key)),
  );
  const value = Object.fromEntries(Object.entries(raw).filter(([key]) => !hidden.has(key)));
  const parsed = validate(schema.schema, value, { read, prefix: path });
  if (parsed.issues.length > 0) {
    const issues = { file, read, prefix: path, json: schema.json, alsoKnown: [...ownKeys, 'kind'] };
    return { part: null, mistakes: mistakesOf(parsed.issues, issues) };
  }
  const { value: config } = parsed;
  const tableOf: PartInput['tableOf'] = (table) => schema.tableOf(config, table);
  const { hasSchemas } = schema;
  return { part: { kind, config, raw, database: schema.databaseOf(config), tableOf, hasSchemas }, mistakes: [] };
}

/** Of a file without mistakes. */
export function partAt(parts: ReadonlyMap<string, PartInput>, path: ConfigPath): PartInput {
  const found = parts.get(pathText(path));
  if (found === undefined) throw new TypeError(`no part at ${pathText(path)}`);
  return found;
}
