import type { Finding } from '#core/finding.ts';
import type { DescribedTable } from '#core/schema.ts';

import { fromCompanions } from '../lib/postgres/companions.ts';
import { readTarget } from './catalogue.ts';
import { missingIndexes, plainIndexStatement } from './indexes.ts';
import { promotionStatements } from './promotion.ts';
import type { ProvisionInput } from './provision.ts';
import type { Session } from './session.ts';
import { domainsOf, typesUnder } from './target-type.ts';

const PRE_DATA = [
  '-- Functions, operators, extensions and other types come from the source first:',
  `--   pg_dump "$SOURCE" --schema-only --section=pre-data --exclude-table='*.*' | psql "$SINK"`,
];

/** What the source's tables have besides columns and key: what is missing for reading, and what waits for a failover. */
export async function checkCompanions(session: Session, tables: readonly DescribedTable[], input: ProvisionInput): Promise<Finding[]> {
  return [await checkIndexesAndDomains(session, tables, input), await promotion(session, tables, input)];
}

async function checkIndexesAndDomains(session: Session, tables: readonly DescribedTable[], input: ProvisionInput): Promise<Finding> {
  const title = "the source's indexes and domains are there";
  const details: string[] = [];
  const mend: string[] = [];
  for (const table of tables) {
    const target = input.target(table.table);
    const found = await readTarget(session, target);
    if (found === null) continue;
    for (const { index, name } of await missingIndexes(session, table, target)) {
      details.push(`index ${name} on ${target} is missing`);
      // Beside the writes that go on: a plain CREATE INDEX would hold them up. Not possible for a partitioned table.
      const statement = plainIndexStatement(target, name, index);
      mend.push(`${found.kind === 'p' ? statement : statement.replace('CREATE INDEX', 'CREATE INDEX CONCURRENTLY')};`);
    }
    if (input.register === 'inline') continue;
    const domains = fromCompanions(table.companions)?.domains ?? [];
    for (const column of table.columns) {
      const type = found.columns.get(column.name)?.type;
      if (type === undefined || domainsOf(column, domains).length === 0 || !typesUnder(column, domains).includes(type)) continue;
      details.push(`column ${column.name} of ${target} has the type ${type} in place of the domain ${column.sourceType}`);
    }
  }
  if (details.length === 0) return { id: 'TP-014', level: 'ok', title, details, mend };
  return { id: 'TP-014', level: 'warning', title: `not all of ${title}`, details, mend: [...PRE_DATA, ...mend] };
}

async function promotion(session: Session, tables: readonly DescribedTable[], input: ProvisionInput): Promise<Finding> {
  const statements = await promotionStatements(session, tables, input);
  if (statements.length === 0) {
    return { id: 'TP-015', level: 'ok', title: 'nothing is to be added after the drain of a failover', details: [], mend: [] };
  }
  const title = `after the drain of a failover, ${statements.length} statements add what replication leaves out`;
  const details = ['Grants, policies, rules, views and comments are not among them: pg_dump --schema-only has those.'];
  const mend = statements.map((statement) => (statement.startsWith('-- ') ? statement : `${statement};`));
  return { id: 'TP-015', level: 'ok', title, details, mend: [...PRE_DATA, ...mend] };
}
