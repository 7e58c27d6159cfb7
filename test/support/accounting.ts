// The judge of tests with crashes. The sink writes down every effect that a row's register has; afterwards both databases are
// compared: the sink has exactly what was committed, and each effect once.
import type pg from 'pg';
import { digests } from './digest.ts';
import { ledgerTables, type WriterAccount } from './ledger-writer.ts';

const versionTables = ledgerTables.map((table) => `causeway."${table}"`);

/** At the sink, once its version tables are there and before the first change: each effect becomes a row of audit.effects. */
export const auditSchema = `
CREATE SCHEMA audit;
CREATE TABLE audit.effects (
  place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  version_table text NOT NULL,
  key jsonb NOT NULL,
  seq text COLLATE "C" NOT NULL,
  deleted boolean NOT NULL
);
CREATE FUNCTION audit.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit.effects (version_table, key, seq, deleted)
  VALUES (TG_TABLE_NAME, to_jsonb(NEW) - 'cw_seq' - 'cw_deleted', NEW.cw_seq, NEW.cw_deleted);
  RETURN NULL;
END $$;
-- ALWAYS: the applier switches ordinary triggers off.
${versionTables
  .map(
    (table) => `
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON ${table} FOR EACH ROW EXECUTE FUNCTION audit.note();
ALTER TABLE ${table} ENABLE ALWAYS TRIGGER audit;`,
  )
  .join('')}
`;

/** Each list names what is wrong, ten at most; all are empty when the copy is right. */
export interface Verdict {
  /** Of commits that were answered: those that the source itself does not have. The test's servers are at fault then. */
  readonly lostAtSource: readonly string[];
  readonly missingMarks: readonly string[];
  readonly surplusMarks: readonly string[];
  readonly differentTables: readonly string[];
  /** Effects that a register had twice. */
  readonly repeatedEffects: readonly string[];
  /** Effects with a lower sequence than the one before on the same key. */
  readonly fallingSequences: readonly string[];
  /** Rows without a live register, and live registers without a row. */
  readonly unmatchedRegisters: readonly string[];
}

export const innocent: Verdict = {
  lostAtSource: [],
  missingMarks: [],
  surplusMarks: [],
  differentTables: [],
  repeatedEffects: [],
  fallingSequences: [],
  unmatchedRegisters: [],
};

export interface Judgement {
  readonly verdict: Verdict;
  /** So that a run in which nothing happened is not taken for a good one. */
  readonly marks: number;
  readonly effects: number;
}

export async function judge(source: pg.Client, sink: pg.Client, accounts: readonly WriterAccount[]): Promise<Judgement> {
  const atSink = await marksOf(sink);
  const effects = await sink.query<{ count: string }>('SELECT count(*) AS count FROM audit.effects');
  return {
    marks: atSink.size,
    effects: Number(effects.rows[0]?.count),
    verdict: {
      ...(await compareMarks(source, atSink, accounts)),
      differentTables: await differentTables(source, sink),
      repeatedEffects: await lines(
        sink,
        `SELECT version_table || ' ' || key::text || ' ' || seq AS line FROM audit.effects GROUP BY version_table, key, seq HAVING count(*) > 1`,
      ),
      fallingSequences: await lines(
        sink,
        `SELECT version_table || ' ' || key::text || ' ' || before || ' > ' || seq AS line
         FROM (SELECT *, lag(seq) OVER (PARTITION BY version_table, key ORDER BY place) AS before FROM audit.effects) effects
         WHERE before > seq`,
      ),
      unmatchedRegisters: await unmatchedRegisters(sink),
    },
  };
}

/** `atSink`: `writer/number` of each. */
export async function compareMarks(
  source: pg.Client,
  atSink: ReadonlySet<string>,
  accounts: readonly WriterAccount[],
): Promise<Pick<Verdict, 'lostAtSource' | 'missingMarks' | 'surplusMarks'>> {
  const atSource = await marksOf(source);
  const committed = accounts.flatMap((account) => [...account.committed].map((number) => `${account.writer}/${number}`));
  return {
    lostAtSource: firstFew(committed.filter((mark) => !atSource.has(mark))),
    missingMarks: firstFew([...atSource].filter((mark) => !atSink.has(mark))),
    surplusMarks: firstFew([...atSink].filter((mark) => !atSource.has(mark))),
  };
}

async function marksOf(client: pg.Client): Promise<Set<string>> {
  const { rows } = await client.query<{ mark: string }>(`SELECT writer || '/' || number AS mark FROM ledger.marks`);
  return new Set(rows.map(({ mark }) => mark));
}

async function differentTables(source: pg.Client, sink: pg.Client): Promise<string[]> {
  const there = await digests(source, ledgerTables);
  const here = await digests(sink, ledgerTables);
  return there.flatMap((digest, index) => {
    const copy = here[index];
    return copy?.rows === digest.rows && copy.digest === digest.digest
      ? []
      : [`${digest.table}: ${digest.rows} rows at the source, ${copy?.rows ?? 0} at the sink`];
  });
}

async function unmatchedRegisters(sink: pg.Client): Promise<string[]> {
  const found: string[] = [];
  for (const [index, table] of ledgerTables.entries()) {
    const versions = versionTables[index] ?? '';
    const { rows } = await sink.query<{ columns: string }>(
      `SELECT string_agg(quote_ident(attname), ', ') AS columns FROM pg_attribute
       WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attname NOT IN ('cw_seq', 'cw_deleted')`,
      [versions],
    );
    const key = rows[0]?.columns ?? '';
    const unmatched = await lines(
      sink,
      `SELECT '${table} ' || coalesce(version.key, replicated.key)::text AS line
       FROM (SELECT to_jsonb(ROW(${key})) AS key FROM ${versions} WHERE NOT cw_deleted) version
       FULL JOIN (SELECT to_jsonb(ROW(${key})) AS key FROM ${table}) replicated USING (key)
       WHERE version.key IS NULL OR replicated.key IS NULL`,
    );
    found.push(...unmatched);
  }
  return firstFew(found);
}

async function lines(client: pg.Client, query: string): Promise<string[]> {
  const { rows } = await client.query<{ line: string }>(`${query} LIMIT 10`);
  return rows.map(({ line }) => line);
}

export type TextRow = Readonly<Record<string, string>>;

/** Each value as text. */
export async function rowsOf(source: pg.Client, table: string): Promise<readonly TextRow[]> {
  const { rows } = await source.query<Record<string, unknown>>(`SELECT * FROM ${table}`);
  return rows.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, String(value)])));
}

/** Null where both are the same, in whatever order. */
export function compareRows(there: readonly TextRow[], here: readonly TextRow[]): string | null {
  const text = (row: TextRow): string => JSON.stringify(Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1)));
  const [atSource, atSink] = [there.map(text).sort(), here.map(text).sort()];
  if (atSource.join('\n') === atSink.join('\n')) return null;
  return `${String(there.length)} rows at the source, ${String(here.length)} at the sink`;
}

export function firstFew(marks: readonly string[]): string[] {
  return marks.slice(0, 10);
}
