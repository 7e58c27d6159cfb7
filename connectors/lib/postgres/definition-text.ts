/**
 * Where `wanted` first stands in a definition that the server printed, outside of quotes and parentheses; -1 where it does not. A
 * backslash needs no care: the server doubles every quote inside of quotes, in E'…' too.
 */
export function topLevelIndexOf(definition: string, wanted: string): number {
  let depth = 0;
  let quote: string | null = null;
  for (let at = 0; at < definition.length; at += 1) {
    if (quote === null && depth === 0 && definition.startsWith(wanted, at)) return at;
    const char = definition[at];
    if (quote !== null) {
      // A doubled quote ends the quotes and begins them again.
      if (char === quote) quote = null;
    } else if (char === "'" || char === '"') quote = char;
    else if (char === '(') depth += 1;
    else if (char === ')') depth -= 1;
  }
  return -1;
}

/** The definition without `part`, where that stands in it outside of quotes and parentheses. */
export function withoutTopLevel(definition: string, part: string): string {
  const at = topLevelIndexOf(definition, part);
  return at < 0 ? definition : definition.slice(0, at) + definition.slice(at + part.length);
}
