import type * as z from 'zod';
import { isRecord } from './mistakes.ts';
import { pathKey, type ConfigPath, type ReadFile } from './read.ts';

export type Validated<T> = { readonly value: T | null; readonly issues: readonly z.core.$ZodIssue[] };

/**
 * Validates a value of the file. What `${…}` gave is text; where the schema wants a number or a boolean and the text is
 * one, it is taken as that, so that a port can come from the environment while a password of digits stays text.
 */
export function validate<T>(
  schema: z.ZodType<T>,
  value: unknown,
  context: { readonly read: ReadFile; readonly prefix: ConfigPath },
): Validated<T> {
  const first = schema.safeParse(value, { reportInput: true });
  if (first.success) return { value: first.data, issues: [] };
  let current = value;
  for (const issue of first.error.issues) {
    const path = issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part));
    if (issue.code !== 'invalid_type' || context.read.expansions.get(pathKey([...context.prefix, ...path]))?.plain !== true) continue;
    const converted = convert(issue.expected, valueAt(current, path));
    if (converted !== undefined) current = replaceAt(current, path, converted);
  }
  if (current === value) return { value: null, issues: first.error.issues };
  const second = schema.safeParse(current, { reportInput: true });
  return second.success ? { value: second.data, issues: [] } : { value: null, issues: second.error.issues };
}

function convert(expected: string, value: unknown): number | boolean | undefined {
  if (typeof value !== 'string') return undefined;
  if ((expected === 'number' || expected === 'int') && /^-?\d+(\.\d+)?$/.test(value)) return Number(value);
  if (expected === 'boolean' && (value === 'true' || value === 'false')) return value === 'true';
  return undefined;
}

function valueAt(value: unknown, path: ConfigPath): unknown {
  let here = value;
  for (const part of path) {
    if (Array.isArray(here)) here = here[Number(part)] as unknown;
    else here = isRecord(here) ? here[part] : undefined;
  }
  return here;
}

function replaceAt(value: unknown, path: ConfigPath, replacement: unknown): unknown {
  const [head, ...rest] = path;
  if (head === undefined) return replacement;
  if (Array.isArray(value)) return value.map((item: unknown, index) => (index === head ? replaceAt(item, rest, replacement) : item));
  if (isRecord(value)) return { ...value, [head]: replaceAt(value[head], rest, replacement) };
  return value;
}
