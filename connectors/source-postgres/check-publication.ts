import type pg from 'pg';
import type { Finding } from '#core/finding.ts';
import type { Catalogue, CatalogueTable } from './catalogue.ts';
import type { PostgresSource } from './config.ts';
import { finding, ok } from './finding.ts';
import type { Sorted } from './inspect.ts';
import { assertSomeTable, publicationStatements, publishedTables } from './provision.ts';

export async function checkPublication(
  client: pg.ClientBase,
  { source, catalogue, sorted }: { readonly source: PostgresSource; readonly catalogue: Catalogue; readonly sorted: Sorted },
): Promise<Finding> {
  const title = `the publication ${source.publication} carries every captured table`;
  try {
    assertSomeTable(sorted.capturable);
  } catch (error) {
    const details = [error instanceof Error ? error.message : 'there is none'];
    return finding('PG-007', title, { level: 'error', details, mend: ['correct `tables` in the configuration'] });
  }
  const tables = publishedTables(sorted.capturable, { first: true, catalogue, isLoadedByHand: () => true });
  const statements = publicationStatements(source.publication, catalogue, tables);
  const narrowed = catalogue.members.filter(({ filter, columns }) => filter !== null || columns !== null);
  const details = narrowed.map(
    ({ schema, name }) => `${schema}.${name} has a row filter or a column list: what it leaves out is not copied`,
  );
  if (statements.length > 0) {
    const allowed = await mayPublish(client, catalogue, tables);
    return finding('PG-007', title, {
      level: allowed ? 'warning' : 'error',
      details: [
        ...details,
        allowed
          ? 'the statements below are run when capture starts'
          : 'the role does not own the tables, or may not make or change the publication: their owner runs the statements below first',
      ],
      mend: statements.map((statement) => `${statement};`),
    });
  }
  return narrowed.length > 0 ? finding('PG-007', title, { level: 'warning', details }) : ok('PG-007', title, [`${tables.length} tables`]);
}

/** Who owns the tables may publish them, in a publication of one's own. */
async function mayPublish(client: pg.ClientBase, catalogue: Catalogue, tables: readonly CatalogueTable[]): Promise<boolean> {
  const added = tables.filter(({ relation }) => !catalogue.members.some((member) => member.relation === relation.oid));
  const { rows } = await client.query<{ allowed: boolean }>(
    `SELECT CASE WHEN $1::pg_catalog.oid IS NULL THEN pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
         ELSE pg_catalog.pg_has_role($1::pg_catalog.oid, 'USAGE') END
       AND pg_catalog.count(*) FILTER (WHERE NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')) = 0 AS allowed
     FROM pg_catalog.pg_class AS c WHERE c.oid = ANY ($2::pg_catalog.oid[])`,
    [catalogue.publication?.owner ?? null, added.map(({ relation }) => relation.oid)],
  );
  return rows[0]?.allowed === true;
}
