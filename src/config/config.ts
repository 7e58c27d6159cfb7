import type { TableSelection } from '#core/connector.ts';
import type { LogFormat } from '#core/log-format.ts';
import type { LogLevel } from '#core/runtime.ts';

/** An address to listen on; null where the endpoint is switched off. */
export type ListenAddress = { readonly host: string; readonly port: number } | null;

/** A connector's part: `config` is what the connector's own schema made of it, `raw` what stood in the file, expanded. */
export type PartConfig = { readonly kind: string; readonly config: unknown; readonly raw: Readonly<Record<string, unknown>> };

export type SinkConfig = PartConfig & {
  readonly name: string;
  readonly parkedKeysMax: number;
  /** How old the watermark may be; null where nothing is said. */
  readonly freshnessMs: number | null;
};

export type PipelineConfig = {
  readonly name: string;
  readonly source: PartConfig;
  readonly tables: readonly TableSelection[];
  readonly log: PartConfig;
  /** In which records are written. */
  readonly logFormat: LogFormat;
  readonly sinks: readonly SinkConfig[];
  readonly leaseTtlMs: number;
};

/** The whole file, validated and resolved. */
export type Config = {
  readonly file: string;
  readonly control: PartConfig;
  readonly http: ListenAddress;
  readonly metrics: ListenAddress;
  readonly logging: { readonly level: LogLevel; readonly format: 'auto' | 'json' | 'text' };
  readonly stopGraceMs: number;
  readonly pipelines: readonly PipelineConfig[];
  /** Files that `${file:…}` named, for the check of their modes. */
  readonly secretFiles: readonly string[];
};
