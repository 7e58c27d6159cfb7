import { CausewayError, type ErrorCode } from '#core/errors.ts';
import type { ControlStore } from '#core/control.ts';
import type { Log } from '#core/log.ts';
import type { Logger, Runtime } from '#core/runtime.ts';
import type { Sink } from '#core/sink.ts';
import type { Source } from '#core/source.ts';
import type { Config, PipelineConfig, SinkConfig } from '../config/config.ts';
import type { Connectors } from '../config/connectors.ts';
import { collidingTargets, targetOf } from '../config/tables.ts';
import { readableRows } from './readable-rows.ts';

export type PartsContext = { readonly connectors: Connectors; readonly runtime: Runtime; readonly logger: Logger };

/** The configuration was validated with the same registry, so the kind is there. */
function known<T>(loaders: Readonly<Record<string, () => Promise<T>>>, kind: string): Promise<T> {
  const load = loaders[kind];
  if (load === undefined) throw new CausewayError('config_invalid', `there is no connector of the kind ${kind}`);
  return load();
}

export async function createControl(config: Config, { connectors, runtime, logger }: PartsContext): Promise<ControlStore> {
  const connector = await known(connectors.control, config.control.kind);
  const leaseTtlMs = Math.min(...config.pipelines.map((pipeline) => pipeline.leaseTtlMs));
  return readableRows(connector.create({ config: config.control.config, leaseTtlMs, context: { runtime, logger } }));
}

export async function createSource(pipeline: PipelineConfig, { connectors, runtime, logger }: PartsContext): Promise<Source> {
  const connector = await known(connectors.source, pipeline.source.kind);
  const source = connector.create({
    config: pipeline.source.config,
    pipeline: pipeline.name,
    tables: pipeline.tables,
    context: { runtime, logger },
  });
  return guardTargets(source, pipeline);
}

export async function createLog(pipeline: PipelineConfig, { connectors, runtime, logger }: PartsContext): Promise<Log> {
  const connector = await known(connectors.log, pipeline.log.kind);
  return connector.create({ config: pipeline.log.config, pipeline: pipeline.name, context: { runtime, logger } });
}

export async function createSink(
  place: {
    readonly pipeline: PipelineConfig;
    readonly sink: SinkConfig;
    readonly partitions: number;
    readonly onRetry?: (code: ErrorCode) => void;
  },
  { connectors, runtime, logger }: PartsContext,
): Promise<Sink> {
  const { pipeline, sink, partitions, onRetry = () => undefined } = place;
  const connector = await known(connectors.sink, sink.kind);
  return connector.create({
    config: sink.config,
    pipeline: pipeline.name,
    sink: sink.name,
    partitions,
    target: (table) => targetOf(pipeline.tables, table),
    onRetry,
    context: { runtime, logger },
  });
}

/**
 * The source, refusing what only the tables that are really there show: two of them that patterns send to one target. Their
 * rows would overwrite each other.
 */
function guardTargets(source: Source, pipeline: PipelineConfig): Source {
  return {
    kind: source.kind,
    check: (signal) => source.check(signal),
    inspect: async (signal) => {
      const facts = await source.inspect(signal);
      const [collision] = collidingTargets(
        pipeline.tables,
        facts.tables.map(({ schema }) => schema.table),
      );
      if (collision === undefined) return facts;
      throw new CausewayError(
        'source_table_refused',
        `${collision.tables.join(' and ')} go to one target, ${collision.target}: give each its own \`target\`, or leave one out`,
      );
    },
    ...(source.database === undefined ? {} : { database: source.database.bind(source) }),
    provision: (slot, signal) => source.provision(slot, signal),
    follow: (tables, signal) => source.follow(tables, signal),
    deprovision: (signal) => source.deprovision(signal),
    open: (signal) => source.open(signal),
    rows: () => source.rows(),
    comparePositions: (a, b) => source.comparePositions(a, b),
    compareFingerprints: (stored, current, truncatedBy) => source.compareFingerprints(stored, current, truncatedBy),
    heartbeat: (signal) => source.heartbeat(signal),
    addMark: (signal) => source.addMark(signal),
    dropMarks: (ids, signal) => source.dropMarks(ids, signal),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}
