import type { ControlStore } from './control.ts';
import type { ErrorCode } from './errors.ts';
import type { Log } from './log.ts';
import type { Logger, Runtime } from './runtime.ts';
import type { TableId } from './schema.ts';
import type { Sink } from './sink.ts';
import type { Source } from './source.ts';

/** What every connector gets besides its own part of the configuration. */
export type ConnectorContext = { readonly runtime: Runtime; readonly logger: Logger };

/** One entry of `tables`, resolved. */
export type TableSelection = {
  /** `schema.table`, `schema.*`, or either with `!` before it. */
  readonly pattern: string;
  readonly snapshot: 'initial' | 'never';
  readonly target: string | null;
};

/**
 * Each connector's index.ts exports one of these as `connector`. `Config` is the resolved form of its part of the file, made
 * by `parse` from the validated input (`schema` is a zod schema; typed as unknown here, because the core names no package).
 * `databaseOf` gives one text for one database, as far as configuration tells, so that two parts which meet in one are noticed; null or absent
 * where it does not tell.
 */
export type SourceConnector<Config> = {
  readonly kind: string;
  readonly configSchema: unknown;
  databaseOf?(config: Config): string | null;
  create(input: {
    readonly config: Config;
    readonly pipeline: string;
    readonly tables: readonly TableSelection[];
    readonly context: ConnectorContext;
  }): Source;
};

export type LogConnector<Config> = {
  readonly kind: string;
  readonly configSchema: unknown;
  create(input: { readonly config: Config; readonly pipeline: string; readonly context: ConnectorContext }): Log;
};

export type SinkConnector<Config> = {
  readonly kind: string;
  readonly configSchema: unknown;
  databaseOf?(config: Config): string | null;
  /** The table of it that rows of a target go to; `target` can be `schema.*`. The target itself where this is absent. */
  tableOf?(config: Config, table: { readonly pipeline: string; readonly sink: string; readonly target: TableId }): string;
  create(input: {
    readonly config: Config;
    readonly pipeline: string;
    readonly sink: string;
    readonly partitions: number;
    /** Where a source table's rows go; the same name unless mapped. */
    readonly target: (table: TableId) => TableId;
    /** Told of each attempt that the sink repeats by itself, as when it is throttled. What its callers repeat they count. */
    readonly onRetry: (code: ErrorCode) => void;
    readonly context: ConnectorContext;
  }): Sink;
};

export type ControlConnector<Config> = {
  readonly kind: string;
  readonly configSchema: unknown;
  databaseOf?(config: Config): string | null;
  create(input: {
    readonly config: Config;
    /** The shortest lease of all pipelines: a call that hangs has to give up well before it ends. */
    readonly leaseTtlMs: number;
    readonly context: ConnectorContext;
  }): ControlStore;
};
