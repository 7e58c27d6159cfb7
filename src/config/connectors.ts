import type { ControlConnector, LogConnector, SinkConnector, SourceConnector } from '#core/connector.ts';

/** Loads a connector by its kind, so that only the configured ones are ever imported. */
export type Connectors = {
  readonly source: Readonly<Record<string, () => Promise<SourceConnector<unknown>>>>;
  readonly log: Readonly<Record<string, () => Promise<LogConnector<unknown>>>>;
  readonly sink: Readonly<Record<string, () => Promise<SinkConnector<unknown>>>>;
  readonly control: Readonly<Record<string, () => Promise<ControlConnector<unknown>>>>;
};

export type ConnectorRole = keyof Connectors;
