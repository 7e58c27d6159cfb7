/**
 * What every session that reads or writes values sets, so that neither the server's nor the role's defaults change a text
 * (invariant C3). The conversions of values.ts hold under these settings only.
 */
export const valueSettings: Readonly<Record<string, string>> = {
  datestyle: 'ISO, YMD',
  timezone: 'UTC',
  intervalstyle: 'iso_8601',
  bytea_output: 'hex',
  extra_float_digits: '1',
  lc_monetary: 'C',
  xmloption: 'content',
  client_encoding: 'UTF8',
  // Names are always written with their schema. With an empty path a regclass and the like are printed with it too.
  search_path: '',
  // A row that a policy hides would look deleted; off makes it the error 42501 instead.
  row_security: 'off',
};

/**
 * The startup packet's `options`: the server splits the text at blanks and takes what follows a backslash as it is
 * (pg_split_opts in the server's postinit.c), so both are escaped.
 */
export function startupOptions(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value.replace(/[\\\s]/g, '\\$&')}`)
    .join(' ');
}
