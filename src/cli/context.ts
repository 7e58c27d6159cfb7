import type { ControlStore } from '#core/control.ts';
import type { Command } from 'commander';
import { connectors } from '../../connectors/registry.ts';
import { CausewayError } from '#core/errors.ts';
import type { Log } from '#core/log.ts';
import type { Logger } from '#core/runtime.ts';
import type { Sink } from '#core/sink.ts';
import type { Source } from '#core/source.ts';
import { parseDurationMs } from '#core/quantity.ts';
import type { Config, PipelineConfig, SinkConfig } from '../config/config.ts';
import { loadConfigFile, type Loaded } from '../config/load.ts';
import { createLogger } from '../runtime/logger.ts';
import { createControl, createLog, createSink, createSource, type PartsContext } from '../runtime/parts.ts';
import { systemRuntime } from '../runtime/runtime.ts';
import type { Format, Io } from './io.ts';

export type GlobalOptions = {
  readonly config: string;
  readonly pipeline?: string;
  readonly output: Format;
  readonly verbose?: boolean;
  readonly timeout: string;
};

/** What every command works with. */
export type CommandContext = {
  readonly io: Io;
  readonly options: GlobalOptions;
  readonly logger: Logger;
  readonly parts: PartsContext;
};

/** A command's work: its result is the exit code. */
export type Action = (context: CommandContext, command: Command) => Promise<number>;

export function contextOf(io: Io, options: GlobalOptions): CommandContext {
  const logger = createLogger({
    runtime: systemRuntime,
    level: options.verbose === true ? 'debug' : 'warn',
    format: 'text',
    write: io.stderr,
  });
  return { io, options, logger, parts: { connectors, runtime: systemRuntime, logger } };
}

export function load(context: CommandContext): Promise<Loaded & { readonly tag: 'ok' }> {
  return loadConfigFile({ file: context.options.config, env: context.io.env, connectors });
}

export async function loadedConfig(context: CommandContext): Promise<Config> {
  return (await load(context)).config;
}

/** How long a command waits for the daemon. */
export function timeoutMs(options: GlobalOptions): number {
  const ms = parseDurationMs(options.timeout);
  if (ms === null) throw new CausewayError('usage', `--timeout ${options.timeout} is not a duration, such as 30s`);
  return ms;
}

/** The pipelines that the command is about: the named one, or all. */
export function pipelinesOf(config: Config, name: string | undefined): readonly PipelineConfig[] {
  if (name === undefined) return config.pipelines;
  return [pipelineNamed(config, name)];
}

/** The one pipeline that the command is about: the named one, or the only one. */
export function onePipeline(config: Config, name: string | undefined): PipelineConfig {
  if (name !== undefined) return pipelineNamed(config, name);
  const [only, ...others] = config.pipelines;
  if (only === undefined || others.length > 0) {
    throw new CausewayError('usage', `the file has several pipelines; name one of ${namesOf(config)} with --pipeline`);
  }
  return only;
}

function pipelineNamed(config: Config, name: string): PipelineConfig {
  const found = config.pipelines.find((pipeline) => pipeline.name === name);
  if (found === undefined) throw new CausewayError('usage', `there is no pipeline ${name} in the file; there is ${namesOf(config)}`);
  return found;
}

function namesOf(config: Config): string {
  return config.pipelines.map(({ name }) => name).join(', ');
}

/** The sinks that the command is about: the named one, or all. */
export function sinksOf(pipeline: PipelineConfig, name: string | undefined): readonly SinkConfig[] {
  if (name === undefined) return pipeline.sinks;
  const found = pipeline.sinks.find((sink) => sink.name === name);
  if (found === undefined) {
    throw new CausewayError(
      'usage',
      `the pipeline ${pipeline.name} has no sink ${name}; there is ${pipeline.sinks.map((sink) => sink.name).join(', ')}`,
    );
  }
  return [found];
}

export async function withControl<T>(context: CommandContext, config: Config, work: (control: ControlStore) => Promise<T>): Promise<T> {
  await using control = await createControl(config, context.parts);
  return await work(control);
}

export async function withSource<T>(context: CommandContext, pipeline: PipelineConfig, work: (source: Source) => Promise<T>): Promise<T> {
  await using source = await createSource(pipeline, context.parts);
  return await work(source);
}

export async function withLog<T>(context: CommandContext, pipeline: PipelineConfig, work: (log: Log) => Promise<T>): Promise<T> {
  await using log = await createLog(pipeline, context.parts);
  return await work(log);
}

export async function withSink<T>(
  context: CommandContext,
  place: { readonly pipeline: PipelineConfig; readonly sink: SinkConfig; readonly partitions: number },
  work: (sink: Sink) => Promise<T>,
): Promise<T> {
  await using sink = await createSink(place, context.parts);
  return await work(sink);
}
