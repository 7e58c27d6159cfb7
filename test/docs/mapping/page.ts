import type { CanonicalType } from '#core/value.ts';
import { canonicalType } from '../../../connectors/lib/postgres/values.ts';
import type { TypeCase } from '../../support/canonical-values.ts';
import { sinkCases, sourceCases } from './catalogue.ts';
import { dynamoDbMapping } from './sink-dynamodb.ts';
import { postgresMapping } from './sink-postgres.ts';
import { spannerMappings } from './sink-spanner.ts';
import type { Setting, SinkMapping } from './sink.ts';
import { keyOf, refusedTables, textOf } from './source-postgres.ts';

/** One for each kind of sink that the registry has. */
export const sinkMappings: readonly SinkMapping[] = [postgresMapping, dynamoDbMapping, ...spannerMappings];

/** docs/types.md, before it is formatted. */
export async function typesText(): Promise<string> {
  const sinks = await Promise.all(sinkMappings.map(sinkSection));
  return `# How types map

A value between source and sink has one of the canonical types and one text. A source says how its types become canonical ones, and a
sink how it keeps those. A mapping is one of three:

- **lossless**: the sink gives back exactly the source's text;
- **refused**: \`causeway check\` says so before anything is captured or made, with the reason and what mends it;
- **parks**: the type has a place, and this one value does not fit. Its key waits in the dead-letter queue with the reason, and every
  other key goes on ([dead letters](cli.md)). A value is never rounded, cut or dropped.

This page is made by asking the functions that read, write and refuse (\`test/docs/mapping/\`), over every canonical type with values at
its edges: it cannot say anything else than what is done.

${sourceSection()}

${sinks.join('\n\n')}`;
}

function sourceSection(): string {
  const rows = grouped(
    sourceCases.map((one) => {
      const canonical = canonicalType(one.type);
      return { name: code(one.name), cells: [canonicalText(canonical, false), textOf(one), keyOf(one)] };
    }),
  );
  return `## Source: Postgres

A domain is what it is over. A type of an extension, a composite and what else has no canonical type is \`other\`: its text under its name.
Texts are those that the server prints under settings of ours, whatever the role's or the server's defaults are.

${tableOf(['Type in Postgres', 'Canonical type', 'Text in the log', 'In a key'], rows)}

### Tables that are refused

Whatever its types are, a table is not captured where it is one of these.

${tableOf(
  ['Refused', 'Why', 'Mend'],
  refusedTables().map((one) => [code(one.code), one.reason, one.mend]),
)}`;
}

async function sinkSection(sink: SinkMapping): Promise<string> {
  const rows: string[][] = [];
  for (const type of sinkCases) {
    const [first, ...others] = sink.settings.map((setting) => ({ setting, ...outcomesOf(type, setting) }));
    if (first === undefined) continue;
    const stored = sink.made === null ? first.stored : await sink.made(type);
    rows.push([code(type.sourceType), canonicalText(type.type, true), stored, sink.key(type), first.parks]);
    for (const { setting, stored: otherwise, parks } of others) {
      if (otherwise === first.stored && parks === first.parks) continue;
      rows.push([`… with ${setting.label ?? ''}`, '', otherwise, '', parks]);
    }
  }
  const refusals = await sink.refusals();
  return `## ${sink.title}

${sink.intro}

${tableOf(['Type at the source', 'Canonical type', 'Kept as', 'As a key', 'Parks its key'], rows)}

### Refused besides

${tableOf(
  ['What', 'In the words of the sink'],
  refusals.map((one) => [...one]),
)}`;
}

/** Over all edges of the type: what holds its values, and which of them nothing holds. */
function outcomesOf(type: TypeCase, { keep }: Setting): { readonly stored: string; readonly parks: string } {
  const stored = new Map<string, string>();
  const parks = new Map<string, string>();
  for (const text of type.edges) {
    const kept = keep(type, text);
    if ('refused' in kept) parks.set(kept.refused, parks.get(kept.refused) ?? text);
    else stored.set(kept.stored, stored.get(kept.stored) ?? text);
  }
  const ways = [...stored];
  return {
    stored: ways.map(([how, text], at) => (at === 0 ? how : `${how} (such as ${sample(text)})`)).join('; '),
    parks: [...parks].map(([why, text]) => `${sample(text)}: ${why}`).join('; '),
  };
}

const SAMPLE_MAX = 40;

function sample(text: string): string {
  if (text === '') return 'an empty one';
  return code(text.length > SAMPLE_MAX ? `${text.slice(0, SAMPLE_MAX)}…` : text);
}

function canonicalText(type: CanonicalType, isWhole: boolean): string {
  switch (type.tag) {
    case 'int':
      return `\`int\` ${type.bits}${type.unsigned ? ' unsigned' : ''}`;
    case 'float':
      return `\`float\` ${type.bits}`;
    case 'decimal':
      return type.precision === null ? '`decimal`' : `\`decimal\` (${type.precision}, ${type.scale ?? 0})`;
    case 'array':
      return `\`array\` of ${canonicalText(type.element, isWhole)}`;
    case 'other':
      return isWhole ? `\`other\` (${type.name})` : '`other`';
    default:
      return code(type.tag);
  }
}

type Row = { readonly name: string; readonly cells: readonly string[] };

/** Types that differ in nothing but the name share a row. */
function grouped(rows: readonly Row[]): readonly (readonly string[])[] {
  const groups = Map.groupBy(rows, ({ cells }) => cells.join('\n'));
  return [...groups.values()].map((same) => [same.map(({ name }) => name).join(', '), ...(same[0]?.cells ?? [])]);
}

function tableOf(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(' | ')} |`;
  return [line(heads), `|${' --- |'.repeat(heads.length)}`, ...rows.map(line)].join('\n');
}

/** A text as it is, also one with backticks. */
function code(text: string): string {
  return text.includes('`') ? `\`\` ${text} \`\`` : `\`${text}\``;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}
