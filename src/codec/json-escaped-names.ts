import type { TableSchema } from '#core/schema.ts';
import type { Fields } from './json-fields.ts';

/*
 * V8's JSON.parse can give a member a wrong name where the name is written with an escape: having once met an object with the
 * name `\`, it takes `"` or a control character in the same place for it (nodejs/node#63785, seen in V8 12.8 to 14.6). Names
 * without escapes, and all values, are safe. So a table that has such a column has its `after` read under other names.
 */

const ESCAPED = /["\\\u0000-\u001f\ud800-\udfff]/; // eslint-disable-line no-control-regex -- what JSON.stringify escapes
const STRING = /"(?:[^"\\]|\\.)*"(\s*:)?/g;

type MemberNames = { readonly names: readonly string[]; readonly escaped: boolean };

const namesOfSchemas = new WeakMap<TableSchema, MemberNames>();

/** The names of the columns as members of `after`: plain ones, to be looked up in `afterWithPlainNames`, if one needs an escape. */
export function memberNames(schema: TableSchema): MemberNames {
  const known = namesOfSchemas.get(schema);
  if (known !== undefined) return known;
  const escaped = schema.columns.some((column) => ESCAPED.test(column.name));
  const made = { names: schema.columns.map((column) => (escaped ? plainName(column.name) : column.name)), escaped };
  namesOfSchemas.set(schema, made);
  return made;
}

/** The `after` of a record's text, which is valid JSON, with every name in a spelling that needs no escape. */
export function afterWithPlainNames(text: string): unknown {
  const spelled = text.replace(STRING, (token: string, colon: string | undefined) =>
    colon === undefined ? token : `"${plainName(JSON.parse(token.slice(0, -colon.length)) as string)}"${colon}`,
  );
  return (JSON.parse(spelled) as Fields)[plainName('after')];
}

/** Code units in hex. */
function plainName(name: string): string {
  let plain = 'u';
  for (let index = 0; index < name.length; index += 1) plain += name.charCodeAt(index).toString(16).padStart(4, '0');
  return plain;
}
