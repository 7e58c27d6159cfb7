import { createHash } from 'node:crypto';
import { CausewayError } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import type { TableId } from '#core/schema.ts';
import { parseSequence } from '#core/sequence.ts';
import { differenceCauses, differenceKinds, type Difference } from '#core/sink.ts';

/** How a difference is kept. The first three tell it apart within its run. */
export const REPORT_COLUMNS = ['source_table', 'kind', 'key_hash', 'row_key', 'cut', 'stored', 'cause', 'columns'] as const;
export type ReportColumn = (typeof REPORT_COLUMNS)[number];
export const REPORT_IDENTITY = ['source_table', 'kind', 'key_hash'] as const;

/** By column. The key stands in for itself, and by its hash in the identity: it can be longer than an index takes. */
export type ReportTexts = Readonly<Record<Exclude<ReportColumn, 'stored'>, string>> & { readonly stored: string | null };

/** One for each identity, the last of equal ones. */
export function reportTexts(differences: readonly Difference[]): readonly ReportTexts[] {
  const byIdentity = new Map<string, ReportTexts>();
  for (const { table, kind, key, cut, stored, cause, columns } of differences) {
    const key_hash = createHash('sha256').update(key).digest('hex');
    const texts = { source_table: table, kind, key_hash, row_key: key, cut, stored, cause, columns: JSON.stringify(columns) };
    byIdentity.set(JSON.stringify(REPORT_IDENTITY.map((name) => texts[name])), texts);
  }
  return [...byIdentity.values()];
}

/** Errors: `sink_misconfigured` for what is no difference. */
export function parseReport(text: (column: ReportColumn) => string | null): Difference {
  const stored = text('stored');
  const kind = differenceKinds.find((one) => one === text('kind'));
  const cause = differenceCauses.find((one) => one === text('cause'));
  const cut = parseSequence(text('cut') ?? '');
  const sequence = stored === null ? null : parseSequence(stored);
  const [table, key, columns] = [text('source_table'), text('row_key'), text('columns')];
  if (kind === undefined || cause === undefined || cut === null || table === null || key === null || columns === null) throw damaged();
  if (stored !== null && sequence === null) throw damaged();
  return {
    table: table as TableId,
    kind,
    key: key as RowKey,
    cut,
    stored: sequence,
    cause,
    columns: JSON.parse(columns) as readonly string[],
  };
}

function damaged(): CausewayError {
  return new CausewayError('sink_misconfigured', 'what the sink keeps of a reconciliation holds a row that is not its own');
}
