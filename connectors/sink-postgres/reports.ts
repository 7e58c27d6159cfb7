import type { Difference, SinkReports } from '#core/sink.ts';
import type { CanonicalType } from '#core/value.ts';

import type { Parameter } from '../lib/postgres/flight.ts';
import { parseReport, REPORT_COLUMNS, REPORT_IDENTITY, reportTexts, type ReportTexts } from '../lib/sink/report-texts.ts';
import { columnEncoder } from './encode.ts';
import { ownerCondition, type ProgressOwner } from './progress.ts';
import type { Sessions } from './session.ts';

const PAGE_ROWS = 500;
const TEXT: CanonicalType = { tag: 'text' };

/** In a table for all pipelines and sinks of the schema. */
export class PostgresReports implements SinkReports {
  readonly #sessions: Sessions;
  readonly #owner: ProgressOwner;

  constructor({ sessions, owner }: { readonly sessions: Sessions; readonly owner: ProgressOwner }) {
    this.#sessions = sessions;
    this.#owner = owner;
  }

  async add(run: string, differences: readonly Difference[], signal: AbortSignal): Promise<void> {
    const texts = reportTexts(differences);
    for (let from = 0; from < texts.length; from += PAGE_ROWS) {
      const values = addValues(this.#owner, run, texts.slice(from, from + PAGE_ROWS));
      await this.#sessions.use(signal, (session) => session.texts(addStatement(this.#owner), values));
    }
  }

  async *list(run: string, signal: AbortSignal): AsyncIterable<readonly Difference[]> {
    let after: readonly string[] | null = null;
    do {
      const values: readonly string[] = [run, ...(after ?? [])];
      const text = listStatement(this.#owner, after !== null);
      const rows = await this.#sessions.use(signal, (session) => session.texts(text, values));
      const last = rows.at(-1);
      if (rows.length > 0) yield rows.map((row) => parseReport((column) => row[REPORT_COLUMNS.indexOf(column)] ?? null));
      after =
        last === undefined || rows.length < PAGE_ROWS ? null : REPORT_IDENTITY.map((name) => last[REPORT_COLUMNS.indexOf(name)] ?? '');
    } while (after !== null);
  }

  async keepOnly(runs: readonly string[], signal: AbortSignal): Promise<void> {
    const text = `DELETE FROM ${this.#owner.own.reports} WHERE ${ownerCondition(this.#owner)} AND run <> ALL ($1::pg_catalog.text[])`;
    await this.#sessions.use(signal, (session) => session.texts(text, [textArray(runs)]));
  }
}

function addStatement({ own }: ProgressOwner): string {
  const given = REPORT_COLUMNS.map((_, at) => `$${at + 4}::pg_catalog.text[]`).join(', ');
  const others = REPORT_COLUMNS.filter((name) => !REPORT_IDENTITY.some((own) => own === name));
  return `INSERT INTO ${own.reports} (pipeline, sink, run, ${REPORT_COLUMNS.join(', ')})
  SELECT $1, $2, $3, ${REPORT_COLUMNS.map((name) => `u.${name}`).join(', ')} FROM unnest(${given}) AS u(${REPORT_COLUMNS.join(', ')})
  ON CONFLICT (pipeline, sink, run, ${REPORT_IDENTITY.join(', ')}) DO UPDATE SET ${others.map((name) => `${name} = EXCLUDED.${name}`).join(', ')}`;
}

function addValues({ pipeline, sink }: ProgressOwner, run: string, texts: readonly ReportTexts[]): readonly Parameter[] {
  return [pipeline, sink, run, ...REPORT_COLUMNS.map((name) => textArray(texts.map((one) => one[name])))];
}

function textArray(texts: readonly (string | null)[]): Parameter {
  return columnEncoder(TEXT)(texts.length, (index) => texts[index]);
}

function listStatement(owner: ProgressOwner, goesOn: boolean): string {
  const identity = REPORT_IDENTITY.join(', ');
  const after = goesOn ? ` AND (${identity}) > ($2, $3, $4)` : '';
  return `SELECT ${REPORT_COLUMNS.join(', ')} FROM ${owner.own.reports} WHERE ${ownerCondition(owner)} AND run = $1${after}
  ORDER BY ${identity} LIMIT ${PAGE_ROWS}`;
}
