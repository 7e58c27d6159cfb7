import type { JsonSchema } from './parts.ts';
import { isRecord } from './mistakes.ts';
import { pathKey, type ConfigPath, type Expansion } from './read.ts';

const HIDDEN = '***';

/** Keys whose values are secrets themselves. A key such as `passwordFile` names a place and is shown. */
const SECRET_KEY = /(password|passphrase|secret|token|credential)s?$/i;

/**
 * What may be printed of a configuration: values that came from the environment or from a file show as they stand in the
 * file, passwords in addresses and values of secret keys are hidden.
 */
export function redact(value: unknown, expansions: ReadonlyMap<string, Expansion>, path: ConfigPath = []): unknown {
  const expansion = expansions.get(pathKey(path));
  if (expansion !== undefined) return redactUrl(expansion.original);
  if (Array.isArray(value)) return value.map((item: unknown, index) => redact(item, expansions, [...path, index]));
  if (isRecord(value)) {
    return Object.fromEntries(
      Object.entries(value).map(([key, inner]) => {
        const here = [...path, key];
        const hidden = SECRET_KEY.test(key) && typeof inner !== 'object' && !expansions.has(pathKey(here));
        return [key, hidden ? HIDDEN : redact(inner, expansions, here)];
      }),
    );
  }
  return typeof value === 'string' ? redactUrl(value) : value;
}

/** Hides the password of an address, in the user part and as a parameter. */
export function redactUrl(text: string): string {
  return text
    .replace(/^([a-z][a-z0-9+.-]*:\/\/[^:@/\s]*):(?!\$\{[^}]*\}@)[^\s]*@(?=[^@]*$)/i, `$1:${HIDDEN}@`)
    .replaceAll(/([?&](?:password|sslpassword|token)=)[^&\s]*/gi, `$1${HIDDEN}`);
}

/** Fills in the defaults that the schema names, so that what is printed is what is in effect. */
export function withDefaults(value: unknown, schema: JsonSchema | undefined): unknown {
  if (schema === undefined) return value;
  const given = value === undefined ? structuredClone(schema.default) : value;
  if (!isRecord(given)) return given;
  const { properties: known = {}, additionalProperties } = ofItsKind(given, schema);
  const open = typeof additionalProperties === 'object' ? additionalProperties : undefined;
  const entries = Object.entries(given).map(([key, inner]): [string, unknown] => [key, withDefaults(inner, known[key] ?? open)]);
  for (const [key, inner] of Object.entries(known)) {
    if (Object.hasOwn(given, key)) continue;
    const filled = withDefaults(undefined, inner);
    if (filled !== undefined) entries.push([key, filled]);
  }
  return Object.fromEntries(entries);
}

/** Where there are several connectors, the schema of the one that is named. */
function ofItsKind(given: Readonly<Record<string, unknown>>, schema: JsonSchema): JsonSchema {
  return schema.oneOf?.find(({ properties }) => properties?.['kind']?.const === given['kind']) ?? schema;
}
