// A Postgres source over a test database, as the daemon would make it.
import type { TableSelection } from '#core/connector.ts';
import type { TableFingerprint } from '#core/control-rows.ts';
import { tableIdOf } from '#core/schema.ts';
import type { CapturedTable, FingerprintVerdict, Source } from '#core/source.ts';
import { connector } from '../../connectors/source-postgres/index.ts';
import { configSchema } from '../../connectors/source-postgres/config.ts';
import { silentLogger } from './silent-logger.ts';
import { realRuntime } from './test-runtime.ts';

export type SourceOptions = {
  readonly url: string;
  /** Slots belong to the server, so tests that share one need names of their own. */
  readonly pipeline: string;
  readonly tables?: readonly (string | TableSelection)[];
  readonly settings?: Readonly<Record<string, unknown>>;
};

export function postgresSource(options: SourceOptions): Source {
  const config = configSchema.parse({ kind: 'postgres', url: options.url, ...options.settings });
  const tables = (options.tables ?? ['public.*']).map((table) => (typeof table === 'string' ? selection(table) : table));
  return connector.create({ config, pipeline: options.pipeline, tables, context: { runtime: realRuntime(), logger: silentLogger } });
}

export function selection(pattern: string, more: Partial<TableSelection> = {}): TableSelection {
  return { pattern, snapshot: 'initial', target: null, ...more };
}

export async function captured(source: Source, name: string): Promise<CapturedTable> {
  const facts = await source.inspect(AbortSignal.timeout(60_000));
  const table = facts.tables.find(({ schema }) => schema.table === tableIdOf('public', name));
  if (table === undefined) throw new Error(`public.${name} is not captured: ${JSON.stringify(facts.refused)}`);
  return table;
}

/** What a change at the source does to the table's fingerprint. */
export async function verdictAfter(source: Source, name: string, change: () => Promise<unknown>): Promise<FingerprintVerdict> {
  const before: TableFingerprint = (await captured(source, name)).fingerprint;
  await change();
  return source.compareFingerprints(before, (await captured(source, name)).fingerprint);
}
