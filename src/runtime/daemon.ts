import { hostname } from 'node:os';
import type { ControlStore } from '#core/control.ts';
import { CausewayError, type ErrorCode } from '#core/errors.ts';
import { codecOf } from '../codec/formats.ts';
import type { Config, ListenAddress, PipelineConfig } from '../config/config.ts';
import type { Connectors } from '../config/connectors.ts';
import { metricsRoutes, statusRoutes } from '../http/routes.ts';
import { serve, type Routes } from '../http/server.ts';
import type { StatusDocument } from '../http/status-document.ts';
import type { Sink } from '#core/sink.ts';
import { createMetrics, type Metrics } from '../metrics/registry.ts';
import { createLogger, errorFields } from './logger.ts';
import { createControl, createLog, createSink, createSource, type PartsContext } from './parts.ts';
import type { Role } from './pipeline-state.ts';
import { createPipeline, type PipelineParts } from './pipeline.ts';
import { systemRuntime, tellingLateness } from './runtime.ts';
import { osStopRequests } from './signals.ts';
import { supervise } from './supervisor.ts';

export type DaemonOptions = {
  readonly config: Config;
  readonly connectors: Connectors;
  readonly roles: readonly Role[];
  readonly version: string;
};

/** Host and process id: what people see of a holder, and what tells this process from any other. */
export function describeProcess(): string {
  return `${hostname()}:${process.pid}`;
}

/** The daemon, from its first line of log to the end of the process. The only place that exits. */
export async function runDaemon(options: DaemonOptions): Promise<never> {
  const { config, connectors, version } = options;
  const { level, format } = config.logging;
  const logger = createLogger({
    runtime: systemRuntime,
    level,
    format: format === 'auto' ? (process.stderr.isTTY ? 'text' : 'json') : format,
    write: (line) => void process.stderr.write(line),
  });
  // A promise that nobody awaits is a defect, after which nothing can be trusted: the next start takes up from what is durable.
  for (const event of ['uncaughtException', 'unhandledRejection']) {
    process.on(event, (error: unknown) => {
      logger.log('error', 'the process ends because of a defect', { event, ...errorFields(error) });
      process.exit(1);
    });
  }
  let code: number;
  try {
    code = await serveAndSupervise(options, { connectors, runtime: systemRuntime, logger });
  } catch (error) {
    logger.log('error', 'the daemon could not start', { version, ...errorFields(error) });
    code = error instanceof CausewayError && error.code === 'config_invalid' ? 2 : 1;
  }
  // Whatever is still open, a socket that hangs for example, must not keep a process that has stopped.
  process.exit(code);
}

async function serveAndSupervise(options: DaemonOptions, given: PartsContext): Promise<number> {
  const { config, roles, version } = options;
  const { logger } = given;
  const metrics = createMetrics({ version, nodeVersion: process.version, nodeDefaults: true });
  const runtime = tellingLateness(given.runtime, (ms) => metrics.timerLate(ms));
  const context = { ...given, runtime };
  const startedAtWallMs = runtime.wallMs();
  const describedAs = describeProcess();
  await using resources = new AsyncDisposableStack();
  // One for the process.
  const control = openedOnce(() => createControl(config, context), resources);
  const pipelines = config.pipelines.map((pipeline) =>
    createPipeline({
      config: pipeline,
      roles,
      describedAs,
      codec: codecOf(pipeline.logFormat),
      runtime,
      logger,
      metrics,
      build: (owner) => buildParts(pipeline, { context, control, metrics, owner }),
    }),
  );
  let stopping = false;
  const status = (): StatusDocument => ({
    apiVersion: 'causeway/v1',
    kind: 'Status',
    version,
    process: describedAs,
    startedAtWallMs,
    writtenAtWallMs: runtime.wallMs(),
    pipelines: pipelines.map((pipeline) => pipeline.status()),
  });
  const views = { live: () => true, ready: () => !stopping && pipelines.every(({ started }) => started), status };
  await listenAll({ config, views: statusRoutes(views), metrics, logger: context.logger }, resources);
  logger.log('info', 'started', { version, process: describedAs, pipelines: config.pipelines.map(({ name }) => name).join(',') });
  using requests = osStopRequests();
  return await supervise(
    pipelines.map((pipeline) => ({ name: pipeline.name, run: (signals) => pipeline.run(signals) })),
    { runtime, logger, requests, graceMs: config.stopGraceMs, onStopping: () => void (stopping = true) },
  );
}

/** Opened by whoever needs it first, and again where that failed. */
function openedOnce<T extends AsyncDisposable>(open: () => Promise<T>, resources: AsyncDisposableStack): () => Promise<T> {
  let opened: Promise<T> | null = null;
  return async () => {
    opened ??= open().then((part) => resources.use(part));
    try {
      return await opened;
    } catch (error) {
      opened = null;
      throw error;
    }
  };
}

async function buildParts(
  pipeline: PipelineConfig,
  input: {
    readonly context: PartsContext;
    readonly control: () => Promise<ControlStore>;
    readonly metrics: Metrics;
    readonly owner: AsyncDisposableStack;
  },
): Promise<PipelineParts> {
  const { owner, metrics } = input;
  const context = { ...input.context, logger: input.context.logger.with({ pipeline: pipeline.name }) };
  const control = await input.control();
  const source = owner.use(await createSource(pipeline, context));
  const log = owner.use(await createLog(pipeline, context));
  const sinks = new Map<string, () => Promise<Sink>>();
  for (const sink of pipeline.sinks) {
    const onRetry = (reason: ErrorCode): void =>
      metrics.count('causeway_apply_retries_total', { pipeline: pipeline.name, sink: sink.name, reason });
    const place = { pipeline, sink, partitions: log.partitions, onRetry };
    sinks.set(
      sink.name,
      openedOnce(() => createSink(place, context), owner),
    );
  }
  return { control, source, log, sinks };
}

async function listenAll(
  input: { readonly config: Config; readonly views: Routes; readonly metrics: Metrics; readonly logger: PartsContext['logger'] },
  resources: AsyncDisposableStack,
): Promise<void> {
  const { config, views, metrics, logger } = input;
  const never = new AbortController().signal;
  const onError = (error: unknown): void => logger.log('error', 'an endpoint failed', errorFields(error));
  const open = async (address: NonNullable<ListenAddress>, routes: Routes, what: string): Promise<void> => {
    try {
      const server = resources.use(await serve({ ...address, routes, onError }, never));
      logger.log('info', 'listening', { endpoint: what, host: server.host, port: server.port });
    } catch (error) {
      throw new CausewayError('config_invalid', `${what}.listen: cannot listen on ${address.host}:${address.port}${errno(error)}`, {
        cause: error,
      });
    }
  };
  const { http, metrics: metricsAddress } = config;
  const together = http !== null && metricsAddress !== null && http.host === metricsAddress.host && http.port === metricsAddress.port;
  if (http !== null) await open(http, together ? new Map([...views, ...metricsRoutes(metrics)]) : views, 'http');
  if (metricsAddress !== null && !together) await open(metricsAddress, metricsRoutes(metrics), 'metrics');
}

function errno(error: unknown): string {
  return error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';
}
