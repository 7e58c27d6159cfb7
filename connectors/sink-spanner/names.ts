import { CausewayError } from '#core/errors.ts';
import type { TableId } from '#core/schema.ts';
import { nameBy } from '../lib/sink/table-name.ts';
import type { Dialect } from './dialect.ts';

/** Of tables and columns, in either dialect ("Data definition language", Naming rules). Two that differ in case alone are one. */
export const IDENTIFIER = /^[A-Za-z][A-Za-z0-9_]{0,127}$/;
const NAME_MAX = 128;

/** Of version tables. */
const VERSION_PREFIX = 'cw_v_';
const OWN_PREFIX = 'causeway_';

/** Of the register, in version tables. */
export const SEQUENCE_COLUMN = 'cw_seq';
export const DELETED_COLUMN = 'cw_deleted';

/** Tables that the sink keeps beside the replicated ones, for any number of pipelines and sinks. */
export const CLAIMS_TABLE = 'causeway_claims';
export const PARTITIONS_TABLE = 'causeway_partitions';
export const TABLES_TABLE = 'causeway_tables';
/** What reconciliations found. */
export const REPORTS_TABLE = 'causeway_reports';

export type Place = { readonly pipeline: string; readonly sink: string };

/** Errors: `sink_misconfigured` for a name that Spanner does not take, or that is kept for the sink. */
export function tableNameOf(target: TableId, pattern: string, { pipeline, sink }: Place): string {
  const tableName = nameBy(pattern, { pipeline, sink, target });
  const mend = `give the table another \`target\`, or set \`tables\` of the sink ${sink}`;
  if (!IDENTIFIER.test(tableName) || versionNameOf(tableName).length > NAME_MAX) {
    throw new CausewayError(
      'sink_misconfigured',
      `${target} would be the table ${JSON.stringify(tableName)}, which is no name there (a letter, then letters, digits and underscores, ` +
        `${NAME_MAX - VERSION_PREFIX.length} in all): ${mend}`,
    );
  }
  const isOwn = [VERSION_PREFIX, OWN_PREFIX].some((prefix) => tableName.toLowerCase().startsWith(prefix));
  if (!isOwn) return tableName;
  throw new CausewayError(
    'sink_misconfigured',
    `${target} would be the table ${tableName}, a name that the sink keeps for itself: ${mend}`,
  );
}

export function versionNameOf(tableName: string): string {
  return VERSION_PREFIX + tableName;
}

export function quoted(name: string, dialect: Dialect): string {
  return dialect === 'POSTGRESQL' ? `"${name}"` : `\`${name}\``;
}
