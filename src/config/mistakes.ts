import type * as z from 'zod';
import type { JsonSchema } from './parts.ts';
import { pathText, type ConfigPath, type Mistake, type ReadFile } from './read.ts';

/** One line a mistake, and its mend below it. */
export function formatMistakes(mistakes: readonly Mistake[]): string {
  return mistakes
    .map(
      ({ file, line, column, path, message, mend }) => `${file}:${line}:${column}${path === '' ? '' : ` ${path}`}: ${message}\n    ${mend}`,
    )
    .join('\n');
}

export type IssueContext = {
  readonly file: string;
  readonly read: ReadFile;
  /** Path of the part that was validated; issues are relative to it. */
  readonly prefix: ConfigPath;
  /** JSON Schema of the part, for the descriptions and the names of known keys. */
  readonly json: JsonSchema;
  /** Keys that belong to the part besides those of the schema. */
  readonly alsoKnown: readonly string[];
};

export function mistakesOf(issues: readonly z.core.$ZodIssue[], context: IssueContext): readonly Mistake[] {
  return issues.flatMap((issue) => mistakesOfIssue(issue, context));
}

function mistakesOfIssue(issue: z.core.$ZodIssue, context: IssueContext): readonly Mistake[] {
  const inner = issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part));
  const path = [...context.prefix, ...inner];
  const at = (place: ConfigPath, key: 'key' | 'value', message: string, mend: string): Mistake => ({
    file: context.file,
    ...context.read.placeOf(place, key),
    path: pathText(place),
    message,
    mend,
  });
  const schema = schemaAt(context.json, inner);
  const described = schema?.description === undefined ? null : schema.description;
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = [...Object.keys(schema?.properties ?? {}), ...(inner.length === 0 ? context.alsoKnown : [])];
      return issue.keys.map((key) => at([...path, key], 'key', 'is not a key that is known here', knownKeys(key, known)));
    }
    case 'invalid_type': {
      const missing = issue.input === undefined && !/received (?!undefined)/.test(issue.message);
      if (missing) return [at(path, 'value', 'is missing', described ?? 'Add it.')];
      return [at(path, 'value', `must be ${article(issue.expected)}`, described ?? 'Correct the value.')];
    }
    case 'invalid_value':
      return [at(path, 'value', `must be ${issue.values.map((value) => String(value)).join(' or ')}`, described ?? 'Correct the value.')];
    case 'invalid_key':
      return [at(path, 'key', issue.issues[0]?.message ?? 'is not a usable name', 'Choose another name.')];
    case 'invalid_union': {
      // The branch that came furthest is the one that was meant.
      const branches = issue.errors.map((branch) => [...branch]).sort((a, b) => depthOf(b) - depthOf(a));
      const best = branches[0];
      if (best === undefined) return [at(path, 'value', 'has none of the forms that are allowed here', described ?? 'Correct the value.')];
      const branchSchema = (schema?.anyOf ?? schema?.oneOf ?? []).find(
        (one) => best.some((inside) => inside.path.length > 0) === (one.type === 'object'),
      );
      return mistakesOf(best, { ...context, prefix: path, json: branchSchema ?? {}, alsoKnown: [] });
    }
    default: {
      const params: unknown = 'params' in issue ? issue.params : undefined;
      const mend = isRecord(params) && typeof params['mend'] === 'string' ? params['mend'] : null;
      return [at(path, 'value', issue.message, mend ?? described ?? 'Correct the value.')];
    }
  }
}

function depthOf(issues: readonly z.core.$ZodIssue[]): number {
  // A branch that fails at its very type was not meant; one that fails inside, or by its form, was.
  return Math.max(...issues.map((issue) => (issue.code === 'invalid_type' && issue.path.length === 0 ? -1 : issue.path.length)));
}

/** The schema of the value at `path`, as far as the JSON Schema tells. */
export function schemaAt(json: JsonSchema, path: ConfigPath): JsonSchema | undefined {
  let here: JsonSchema | undefined = json;
  for (const part of path) {
    if (here === undefined) return undefined;
    if (typeof part === 'number') {
      here = here.items;
      continue;
    }
    const open: boolean | JsonSchema | undefined = here.additionalProperties;
    here = here.properties?.[part] ?? (typeof open === 'object' ? open : undefined);
  }
  return here;
}

function knownKeys(key: string, known: readonly string[]): string {
  const close = known.find((name) => distance(name.toLowerCase(), key.toLowerCase()) <= 2);
  if (close !== undefined) return `Did you mean \`${close}\`?`;
  return known.length === 0 ? 'Remove it.' : `Known here: ${known.join(', ')}.`;
}

/** Levenshtein's distance, for short names. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

function article(expected: string): string {
  switch (expected) {
    case 'string':
      return 'text (put it in quotes)';
    case 'int':
    case 'number':
      return 'a number';
    case 'boolean':
      return 'true or false';
    case 'array':
      return 'a list';
    case 'object':
    case 'record':
      return 'a group of keys';
    default:
      return expected;
  }
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
