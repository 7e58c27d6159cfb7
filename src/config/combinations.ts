import { parseDurationMs } from '#core/quantity.ts';
import type { TableId } from '#core/schema.ts';
import type { Config, PipelineConfig } from './config.ts';
import { collidingTargets, isExclusion, isWildcard, targetOf, writesWhatIsCaptured } from './tables.ts';
import { partAt, type PartInput } from './part-values.ts';
import type { ConfigPath } from './read.ts';

/** Parts that are right by themselves and wrong together. */
export type Collision = { readonly path: ConfigPath; readonly message: string; readonly mend: string };

type Parts = ReadonlyMap<string, PartInput>;

/** `parts` are those of `config`, by their paths. */
export function collisionsOf(config: Pick<Config, 'control' | 'pipelines'>, parts: Parts): readonly Collision[] {
  return [
    ...config.pipelines.flatMap((pipeline) => tableCollisions(pipeline)),
    ...sharedNames(config.pipelines),
    ...sharedFiles(config),
    ...sharedTopics(config.pipelines),
    ...config.pipelines.flatMap((pipeline) => slowLog(pipeline)),
    ...sharedTargets(config.pipelines, parts),
    ...controlInside(config.pipelines, parts),
    ...ownTargets(config.pipelines, parts),
  ];
}

function tableCollisions({ name, tables }: PipelineConfig): readonly Collision[] {
  const found: Collision[] = [];
  const place = (index: number): ConfigPath => ['pipelines', name, 'source', 'tables', index];
  if (tables.every(({ pattern }) => isExclusion(pattern))) {
    found.push({
      path: ['pipelines', name, 'source', 'tables'],
      message: 'names only exclusions',
      mend: 'Name at least one table to capture.',
    });
  }
  tables.forEach((entry, index) => {
    if (tables.findIndex(({ pattern }) => pattern === entry.pattern) < index) {
      found.push({ path: place(index), message: `names ${entry.pattern} a second time`, mend: 'Remove one of the two entries.' });
    }
    if (isExclusion(entry.pattern) && (entry.target !== null || entry.snapshot !== 'initial')) {
      found.push({ path: place(index), message: 'leaves a table out and says how to copy it', mend: 'Write the exclusion as plain text.' });
    }
    if (entry.target !== null && isWildcard(entry.pattern) && !isWildcard(entry.target)) {
      found.push({ path: place(index), message: 'maps several tables to one target', mend: 'Write the target as `schema.*`.' });
    }
  });
  const exact = tables.map(({ pattern }) => pattern).filter((pattern) => !isExclusion(pattern) && !isWildcard(pattern)) as TableId[];
  for (const { target, tables: sources } of collidingTargets(tables, [...new Set(exact)])) {
    const index = tables.findIndex(({ pattern }) => pattern === sources.at(-1));
    found.push({
      path: place(index),
      message: `${sources.join(' and ')} go to one target, ${target}`,
      mend: 'Give each its own `target`.',
    });
  }
  return found;
}

/** A slot that two pipelines share would give each only a part of the changes. */
function sharedNames(pipelines: readonly PipelineConfig[]): readonly Collision[] {
  return (['slot', 'publication'] as const).flatMap((key) =>
    duplicates(pipelines, ({ source, name }) => textAt(source.raw, key) ?? `causeway_${name}`).map(([first, second, value]) => ({
      path: ['pipelines', second.name, 'source', ...(textAt(second.source.raw, key) === null ? [] : [key])],
      message: `shares the ${key} ${value} with the pipeline ${first.name}`,
      mend: `Give each pipeline a ${key} of its own.`,
    })),
  );
}

function sharedFiles({ control, pipelines }: Pick<Config, 'control' | 'pipelines'>): readonly Collision[] {
  const logs = duplicates(pipelines, ({ log }) => pathAt(log.raw)).map(([first, second, value]) => ({
    path: ['pipelines', second.name, 'log', 'path'],
    message: `shares the file ${value} with the pipeline ${first.name}`,
    mend: 'Give each pipeline a log of its own.',
  }));
  const controlPath = pathAt(control.raw);
  const withControl = pipelines
    .filter(({ log }) => controlPath !== null && pathAt(log.raw) === controlPath)
    .map(({ name }) => ({
      path: ['pipelines', name, 'log', 'path'],
      message: 'is the file of the control store',
      mend: 'Give the log a file of its own.',
    }));
  return [...logs, ...withControl];
}

/** One topic holds one pipeline. Brokers are told apart by their addresses, as far as text can tell. */
function sharedTopics(pipelines: readonly PipelineConfig[]): readonly Collision[] {
  const topics = pipelines.flatMap((pipeline) => {
    const [topic, brokers] = [textAt(pipeline.log.raw, 'topic'), pipeline.log.raw['brokers']];
    return topic === null || !Array.isArray(brokers) ? [] : [{ pipeline, topic, brokers: new Set<unknown>(brokers) }];
  });
  return topics.flatMap(({ pipeline, topic, brokers }, index) => {
    const other = topics.slice(0, index).find((one) => one.topic === topic && !one.brokers.isDisjointFrom(brokers));
    if (other === undefined) return [];
    return [
      {
        path: ['pipelines', pipeline.name, 'log', 'topic'],
        message: `shares the topic ${topic} with the pipeline ${other.pipeline.name}`,
        mend: 'Give each pipeline a topic of its own.',
      },
    ];
  });
}

/** A holder that waits for the log for longer than its lease holds would learn too late that another one took over. */
function slowLog({ name, log, leaseTtlMs }: PipelineConfig): readonly Collision[] {
  const text = textAt(log.raw, 'requestTimeout') ?? (textAt(log.raw, 'topic') === null ? null : REQUEST_TIMEOUT_DEFAULT);
  const timeoutMs = text === null ? null : parseDurationMs(text);
  if (text === null || timeoutMs === null || timeoutMs < leaseTtlMs) return [];
  const message = `is ${text}, no less than the time of the lease`;
  return [{ path: ['pipelines', name, 'log', 'requestTimeout'], message, mend: 'Set it to less than `lease.ttl`.' }];
}

/** Two sinks that write the same table of the same database would take each other's rows for their own. */
function sharedTargets(pipelines: readonly PipelineConfig[], parts: Parts): readonly Collision[] {
  const seen = new Map<string, string>();
  const found: Collision[] = [];
  for (const pipeline of pipelines) {
    const names = pipeline.tables.map(({ pattern }) => pattern).filter((pattern) => !isExclusion(pattern));
    for (const sink of pipeline.sinks) {
      const { database, tableOf, hasSchemas } = sinkAt(parts, pipeline, sink);
      if (database === null) continue;
      for (const pattern of names) {
        const target = isWildcard(pattern)
          ? (pipeline.tables.find((entry) => entry.pattern === pattern)?.target ?? pattern)
          : targetOf(pipeline.tables, pattern as TableId);
        const table = tableOf({ pipeline: pipeline.name, sink: sink.name, target: target as TableId });
        // Of `schema.*` nobody knows the tables yet: other schemas, other tables. Where all tables share one space, so can those of two
        // sources be; the sinks themselves refuse what does meet.
        const others = isWildcard(target) ? [target, hasSchemas ? null : pipeline.name] : null;
        const key = JSON.stringify([database, others, table]);
        const other = seen.get(key);
        const here = `${pipeline.name}.sinks.${sink.name}`;
        if (other !== undefined && other !== here) {
          found.push({
            path: ['pipelines', pipeline.name, 'sinks', sink.name],
            message: `writes ${table} of the same database as ${other}`,
            mend: 'Map one of the two to other tables with `target`, give them other names with `tables` of the sink where it has that, or remove a sink.',
          });
          break;
        }
        seen.set(key, here);
      }
    }
  }
  return found;
}

/** The daemon sees this over other addresses too; here it has a line. */
function ownTargets(pipelines: readonly PipelineConfig[], parts: Parts): readonly Collision[] {
  return pipelines.flatMap((pipeline) => {
    const { name, sinks, tables } = pipeline;
    const { database } = sourceAt(parts, pipeline);
    const table = writesWhatIsCaptured(tables);
    if (database === null || table === null) return [];
    return sinks
      .filter((sink) => sinkAt(parts, pipeline, sink).database === database)
      .map((sink) => ({
        path: ['pipelines', name, 'sinks', sink.name],
        message: `writes ${table} of the database that is captured, over itself`,
        mend: 'Correct the address of the source or the sink, or map the tables to others with `target`.',
      }));
  });
}

/** As above, for the store that has to outlive them. */
function controlInside(pipelines: readonly PipelineConfig[], parts: Parts): readonly Collision[] {
  const { database } = partAt(parts, ['control']);
  if (database === null) return [];
  const inside = pipelines.flatMap((pipeline) => [
    ...(sourceAt(parts, pipeline).database === database ? [`the source of ${pipeline.name}`] : []),
    ...pipeline.sinks
      .filter((sink) => sinkAt(parts, pipeline, sink).database === database)
      .map((sink) => `the sink ${sink.name} of ${pipeline.name}`),
  ]);
  const mend = 'Give the control store a database on a server that is not failed over.';
  return inside.slice(0, 1).map((what) => ({ path: ['control'], message: `is in the database of ${what}`, mend }));
}

/** Pairs of pipelines for which `keyOf` gives the same text. */
function duplicates(
  pipelines: readonly PipelineConfig[],
  keyOf: (pipeline: PipelineConfig) => string | null,
): readonly (readonly [PipelineConfig, PipelineConfig, string])[] {
  const seen = new Map<string, PipelineConfig>();
  const found: [PipelineConfig, PipelineConfig, string][] = [];
  for (const pipeline of pipelines) {
    const key = keyOf(pipeline);
    const first = key === null ? undefined : seen.get(key);
    if (key !== null && first !== undefined) found.push([first, pipeline, key]);
    else if (key !== null) seen.set(key, pipeline);
  }
  return found;
}

function textAt(raw: Readonly<Record<string, unknown>>, key: string): string | null {
  const value = raw[key];
  return typeof value === 'string' ? value : null;
}

/** One spelling for one path, as far as text can tell. */
function pathAt(raw: Readonly<Record<string, unknown>>): string | null {
  return (
    textAt(raw, 'path')
      ?.replaceAll(/\/(\.?\/)+/g, '/')
      .replace(/^\.\//, '') ?? null
  );
}

/** Of Kafka, the only kind that has topics. */
const REQUEST_TIMEOUT_DEFAULT = '10s';

function sourceAt(parts: Parts, { name }: PipelineConfig): PartInput {
  return partAt(parts, ['pipelines', name, 'source']);
}

function sinkAt(parts: Parts, pipeline: PipelineConfig, { name }: { readonly name: string }): PartInput {
  return partAt(parts, ['pipelines', pipeline.name, 'sinks', name]);
}
