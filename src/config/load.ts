import { readFileSync } from 'node:fs';
import { parsePart, partAt, type PartInput } from './part-values.ts';
import { collisionsOf } from './combinations.ts';
import type { Config, ListenAddress, PartConfig, PipelineConfig, SinkConfig } from './config.ts';
import type { ConnectorRole, Connectors } from './connectors.ts';
import { formatMistakes, isRecord, mistakesOf } from './mistakes.ts';
import { jsonSchemaOf, type JsonSchema } from './parts.ts';
import { pathText, readConfigText, type ConfigPath, type Mistake, type ReadFile, type Surroundings } from './read.ts';
import { redact, withDefaults } from './redact.ts';
import { fileSchema, logOwnKeys, sinkOwnKeys, sourceOwnKeys, type ConfigFile } from './schema.ts';
import { selectionOf } from './tables.ts';
import { CausewayError } from '#core/errors.ts';
import { validate } from './validate.ts';
import { fullJsonSchema } from './json-schema.ts';

export type Loaded =
  | {
      readonly tag: 'ok';
      readonly config: Config;
      /** The effective configuration in the form of the file, without secrets. */
      readonly printable: unknown;
    }
  | { readonly tag: 'mistakes'; readonly mistakes: readonly Mistake[] };

export type LoadInput = {
  /** As people call it in messages. */
  readonly file: string;
  readonly text: string;
  readonly surroundings: Surroundings;
  readonly connectors: Connectors;
};

/** Reads and resolves the text of a configuration file. Every mistake is reported, not only the first. */
export async function loadConfig(input: LoadInput): Promise<Loaded> {
  const read = readConfigText(input.file, input.text, input.surroundings);
  if (read.mistakes.length > 0) return { tag: 'mistakes', mistakes: read.mistakes };
  if (!isRecord(read.value)) {
    const mistake = {
      file: input.file,
      line: 1,
      column: 1,
      path: '',
      message: 'holds no configuration',
      mend: '`causeway config init` writes an example.',
    };
    return { tag: 'mistakes', mistakes: [mistake] };
  }
  const base = validate(fileSchema, read.value, { read, prefix: [] });
  const json: JsonSchema = jsonSchemaOf(fileSchema);
  const mistakes: Mistake[] = [...mistakesOf(base.issues, { file: input.file, read, prefix: [], json, alsoKnown: [] })];

  const parts = new Map<string, PartInput>();
  for (const { role, path, raw } of partsOf(read.value)) {
    const parsed = await parsePart({ role, path, raw, ownKeys: ownKeysOf(role) }, { file: input.file, read, connectors: input.connectors });
    mistakes.push(...parsed.mistakes);
    if (parsed.part !== null) parts.set(pathText(path), parsed.part);
  }
  if (base.value === null || mistakes.length > 0) return { tag: 'mistakes', mistakes: sorted(mistakes) };

  const config = resolve(input.file, base.value, parts, read);
  const collisions = collisionsOf(config, parts).map(({ path, message, mend }) => ({
    file: input.file,
    ...read.placeOf(path, 'value'),
    path: pathText(path),
    message,
    mend,
  }));
  if (collisions.length > 0) return { tag: 'mistakes', mistakes: sorted(collisions) };
  const effective = withDefaults(read.value, await fullJsonSchema(input.connectors));
  return { tag: 'ok', config, printable: redact(effective, read.expansions) };
}

/** Reads the file and throws `config_invalid` with every mistake in the message. */
export async function loadConfigFile(
  input: Omit<LoadInput, 'text' | 'surroundings'> & { readonly env: Surroundings['env'] },
): Promise<Loaded & { readonly tag: 'ok' }> {
  let text: string;
  try {
    text = readFileSync(input.file, 'utf8');
  } catch (error) {
    throw new CausewayError('config_invalid', `${input.file}: cannot be read; \`causeway config init\` writes an example`, {
      cause: error,
    });
  }
  const loaded = await loadConfig({ ...input, text, surroundings: { env: input.env, readFile: (path) => readFileSync(path, 'utf8') } });
  if (loaded.tag === 'mistakes') throw new CausewayError('config_invalid', formatMistakes(loaded.mistakes));
  return loaded;
}

type PartPlace = { readonly role: ConnectorRole; readonly path: ConfigPath; readonly raw: Readonly<Record<string, unknown>> };

/** The connector parts that are there, also in a file that has mistakes elsewhere. */
function partsOf(file: Readonly<Record<string, unknown>>): readonly PartPlace[] {
  const found: PartPlace[] = [];
  const add = (role: ConnectorRole, path: ConfigPath, raw: unknown): void => {
    if (isRecord(raw) && typeof raw['kind'] === 'string') found.push({ role, path, raw });
  };
  add('control', ['control'], file['control']);
  for (const [name, pipeline] of Object.entries(isRecord(file['pipelines']) ? file['pipelines'] : {})) {
    if (!isRecord(pipeline)) continue;
    add('source', ['pipelines', name, 'source'], pipeline['source']);
    add('log', ['pipelines', name, 'log'], pipeline['log']);
    for (const [sink, raw] of Object.entries(isRecord(pipeline['sinks']) ? pipeline['sinks'] : {})) {
      add('sink', ['pipelines', name, 'sinks', sink], raw);
    }
  }
  return found;
}

export function ownKeysOf(role: ConnectorRole): readonly string[] {
  switch (role) {
    case 'source':
      return Object.keys(sourceOwnKeys);
    case 'sink':
      return Object.keys(sinkOwnKeys);
    case 'log':
      return Object.keys(logOwnKeys);
    case 'control':
      return [];
  }
}

function resolve(file: string, value: ConfigFile, parts: ReadonlyMap<string, PartInput>, read: ReadFile): Config {
  const part = (path: ConfigPath): PartConfig => {
    const { kind, config, raw } = partAt(parts, path);
    return { kind, config, raw };
  };
  const pipelines = Object.entries(value.pipelines).map(([name, pipeline]): PipelineConfig => {
    const sinks = Object.entries(pipeline.sinks).map(([sink, own]): SinkConfig => ({
      ...part(['pipelines', name, 'sinks', sink]),
      name: sink,
      parkedKeysMax: own.deadLetter.parkedKeysMax,
      freshnessMs: own.slo.freshness ?? null,
    }));
    return {
      name,
      source: part(['pipelines', name, 'source']),
      tables: pipeline.source.tables.map(selectionOf),
      log: part(['pipelines', name, 'log']),
      logFormat: pipeline.log.format,
      sinks,
      leaseTtlMs: pipeline.lease.ttl,
    };
  });
  return {
    file,
    control: part(['control']),
    http: listenAddress(value.http.listen),
    metrics: listenAddress(value.metrics.listen),
    logging: value.logging,
    stopGraceMs: value.stop.grace,
    pipelines,
    secretFiles: read.secretFiles,
  };
}

function listenAddress(text: string): ListenAddress {
  if (text === 'none') return null;
  const at = text.lastIndexOf(':');
  return { host: text.slice(0, at).replace(/^\[(.*)\]$/, '$1'), port: Number(text.slice(at + 1)) };
}

function sorted(mistakes: readonly Mistake[]): readonly Mistake[] {
  return [...mistakes].sort((a, b) => a.line - b.line || a.column - b.column);
}
