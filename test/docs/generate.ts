import { format } from 'prettier';
import { connectors } from '../../connectors/registry.ts';
import { errorTable } from '../../src/core/errors.ts';
import { fullJsonSchema } from '../../src/config/json-schema.ts';
import type { JsonSchema } from '../../src/config/parts.ts';
import { metricTable } from '../../src/metrics/names.ts';
import { typesText } from './mapping/page.ts';

/*
 * The pages of docs/ that are made from code. `vitest run --project unit test/docs -u` writes them; without `-u` the test
 * fails where one is not current.
 */

export function errorsPage(): Promise<string> {
  const retry = {
    timed: 'tried again with backoff',
    manual: 'a state that is shown, and looked at again every ten seconds',
    fatal: 'ends the process',
  };
  const sections = Object.entries(errorTable).map(
    ([code, entry]) => `## ${code}\n\n${entry.meaning}\n\n**Mend:** ${entry.mend}\n\n**In the daemon:** ${retry[entry.retry]}.\n`,
  );
  return page(`# Error codes

Every error that Causeway names, with what it means and how it is mended. Log lines, \`causeway status\` and every command carry the code. Made
from \`src/core/errors.ts\`.

${sections.join('\n')}`);
}

export function metricsPage(): Promise<string> {
  const groups = [...new Set(Object.values(metricTable).map(({ group }) => group))];
  const sections = groups.map((group) => {
    const rows = Object.entries(metricTable)
      .filter(([, entry]) => entry.group === group)
      .map(([name, { type, labels, help }]) => `| \`${name}\` | ${type} | ${labels.join(', ')} | ${cell(help)} |`);
    return `## ${group}\n\n| Name | Type | Labels | Help |\n| --- | --- | --- | --- |\n${rows.join('\n')}\n`;
  });
  return page(`# Metrics

\`/metrics\` on \`metrics.listen\`. A figure that is not known is absent, never 0. A standby exports its lease and its state only, so rules take
\`max by (pipeline, sink)\`. Node's own metrics (\`nodejs_…\`, \`process_…\`) stand beside these. Made from \`src/metrics/names.ts\`.

${sections.join('\n')}`);
}

export async function typesPage(): Promise<string> {
  return page(await typesText());
}

export async function configurationPage(): Promise<string> {
  const schema = await fullJsonSchema(connectors);
  return page(`# The configuration file

One YAML file, \`causeway.yaml\` unless \`--config\` or \`CAUSEWAY_CONFIG\` names another. \`causeway config init\` writes a commented one,
\`causeway config validate\` names every mistake with its line, \`causeway config print\` shows what is in effect without secrets.

- A key that is not listed here is a mistake.
- \`\${NAME}\` in a value is taken from the environment, \`\${file:/path}\` from a file without its last line break; \`$\${\` is a literal \`\${\`. Both
  are read when the process starts. A password in \`passwordFile\` is read again at each connection.
- Durations carry a unit (\`250ms\`, \`30s\`, \`5m\`, \`1h\`, \`1d\`), and so do sizes (\`512MiB\`, \`8GiB\`, \`1GB\`).
- Relative paths start at the folder that the daemon is started in.
- A changed file means a restart: it is not read again.

Two pipelines may not share a slot, a publication or a log file, and no two of their sinks may write one table.

\`config/causeway.schema.json\` describes the same for editors: put \`# yaml-language-server: $schema=…/causeway.schema.json\` on top of the
file. This page is made from the same schemas.

${group(schema, []).join('\n\n')}
`);
}

export async function jsonSchemaFile(): Promise<string> {
  return format(JSON.stringify(await fullJsonSchema(connectors)), { parser: 'json', printWidth: 140 });
}

/** A heading for each group of keys, with a table of those that are no group themselves. */
function group(schema: JsonSchema, path: readonly string[], kind: string | null = null): readonly string[] {
  const required = new Set(schema.required ?? []);
  const rows: string[] = [];
  const below: string[] = [];
  for (const [name, value] of Object.entries(schema.properties ?? {})) {
    const shapes = shapesOf(value);
    if (shapes.length === 0) rows.push(row(name, value, { path, required: required.has(name) }));
    for (const { shape, suffix } of shapes) {
      const choice = shapes.length > 1 ? String(shape.properties?.['kind']?.const) : kind;
      below.push(...group({ description: value.description ?? '', ...shape }, [...path, name, ...suffix], choice));
    }
  }
  const table = rows.length === 0 ? [] : [['| Key | Value | Default | Meaning |', '| --- | --- | --- | --- |', ...rows].join('\n')];
  const title =
    path.length === 0
      ? ['## The file']
      : [`## \`${path.join('.')}\`${kind === null ? '' : `, kind \`${kind}\``}`, schema.description ?? ''];
  return [...title, ...table, ...below];
}

type Shape = { readonly shape: JsonSchema; readonly suffix: readonly string[] };

/** The groups that a value can be: one for each kind of a connector; under a name of the reader's own where it is a map. */
function shapesOf(value: JsonSchema): readonly Shape[] {
  const { additionalProperties: named } = value;
  if (typeof named === 'object') return shapesOf(named).map(({ shape, suffix }) => ({ shape, suffix: ['<name>', ...suffix] }));
  return (value.oneOf ?? [value]).filter(({ properties }) => properties !== undefined).map((shape) => ({ shape, suffix: [] }));
}

function row(name: string, value: JsonSchema, place: { readonly path: readonly string[]; readonly required: boolean }): string {
  const fallback = value.default !== undefined ? `\`${JSON.stringify(value.default)}\`` : place.required ? 'required' : '';
  const forms = (value.items?.anyOf ?? []).flatMap((form) => [
    ...(form.type === 'string' ? [form.description ?? ''] : []),
    ...Object.entries(form.properties ?? {})
      .filter(([field]) => field !== 'name')
      .map(([field, inner]) => `\`${field}\`: ${inner.description ?? ''}`),
  ]);
  const text = [value.description ?? '', ...forms].filter((part) => part !== '').join(' ');
  return `| \`${name}\` | ${cell(typeText(value))} | ${cell(fallback)} | ${cell(text)} |`;
}

function typeText(value: JsonSchema): string {
  if (value.const !== undefined) return `\`${JSON.stringify(value.const).replaceAll('"', '')}\``;
  if (value.enum !== undefined) return value.enum.map((one) => `\`${String(one)}\``).join(', ');
  switch (value.type) {
    case 'integer':
    case 'number':
      return 'number';
    case 'array':
      return 'list';
    case 'boolean':
      return '`true`, `false`';
    default:
      return 'text';
  }
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ').replaceAll('<', '&lt;');
}

function page(text: string): Promise<string> {
  return format(text, { parser: 'markdown', printWidth: 140, singleQuote: true });
}
