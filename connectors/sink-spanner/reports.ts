import type { Difference, SinkReports } from '#core/sink.ts';
import { parseReport, REPORT_COLUMNS, REPORT_IDENTITY, reportTexts } from '../lib/sink/report-texts.ts';
import { unlessThrottled, untilTaken } from '../lib/sink/throttled.ts';
import { REPORTS_TABLE, type Place } from './names.ts';
import { placeWires, readClaim } from './own-rows.ts';
import { sentAgain } from './shape.ts';
import { snapshot, transact, type Found, type Mutation, type Reader, type Store } from './transaction.ts';
import { NULL, textOf, textWire, type Wire } from './wire.ts';

const PAGE_ROWS = 500;
const WHAT = `the table ${REPORTS_TABLE}`;

type Of = { readonly store: Store; readonly place: Place };

/** In a table for all pipelines and sinks of the database. */
export class SpannerReports implements SinkReports {
  readonly #store: Store;
  readonly #of: Place;
  readonly #place: readonly Wire[];

  constructor({ store, place }: Of) {
    this.#store = store;
    this.#of = place;
    this.#place = placeWires(place);
  }

  async add(run: string, differences: readonly Difference[], signal: AbortSignal): Promise<void> {
    const texts = reportTexts(differences);
    const columns = ['pipeline', 'sink', 'run', ...REPORT_COLUMNS];
    for (let from = 0; from < texts.length; from += PAGE_ROWS) {
      const rows = texts.slice(from, from + PAGE_ROWS).map((one) => [
        ...this.#place,
        textWire(run),
        ...REPORT_COLUMNS.map((name) => {
          const text = one[name];
          return text === null ? NULL : textWire(text);
        }),
      ]);
      await this.#write([{ tag: 'replace', table: REPORTS_TABLE, columns, rows }], signal);
    }
  }

  async *list(run: string, signal: AbortSignal): AsyncIterable<readonly Difference[]> {
    const of = [...this.#place, textWire(run)];
    for await (const { rows } of this.#pages(of, REPORT_COLUMNS, signal)) {
      yield rows.map((row) => parseReport((column) => textOf(row[REPORT_COLUMNS.indexOf(column)])));
    }
  }

  async keepOnly(runs: readonly string[], signal: AbortSignal): Promise<void> {
    for await (const { rows } of this.#pages(this.#place, ['run', ...REPORT_IDENTITY], signal)) {
      const others = rows.filter(([run]) => !runs.includes(textOf(run) ?? ''));
      const keys = others.map((row) => [...this.#place, ...sentAgain(row)]);
      if (keys.length > 0) await this.#write([{ tag: 'delete', table: REPORTS_TABLE, keys }], signal);
    }
  }

  /** Of the keys that begin so. `columns` has the rest of the key among it. */
  async *#pages(prefix: readonly Wire[], columns: readonly string[], signal: AbortSignal): AsyncIterable<Found> {
    const rest = ['run', ...REPORT_IDENTITY].slice(prefix.length - this.#place.length).map((name) => columns.indexOf(name));
    const to = { key: prefix, isIn: true };
    let from = to;
    while (true) {
      const read = { table: REPORTS_TABLE, columns, keys: { tag: 'range', from, to } as const, rowsMax: PAGE_ROWS };
      const found = await this.#taken(signal, () => snapshot(this.#store, WHAT, signal, (reader) => reader.read(read)));
      const last = found.rows.at(-1);
      if (last !== undefined) yield found;
      if (found.isAll || last === undefined) return;
      const end = sentAgain(last);
      from = { key: [...prefix, ...rest.map((at) => end[at] ?? NULL)], isIn: false };
    }
  }

  async #write(mutations: readonly Mutation[], signal: AbortSignal): Promise<void> {
    const work = async (reader: Reader) => {
      // A commit needs a transaction, which a read begins: of a row that nobody else writes.
      await reader.read(readClaim(this.#of));
      return { result: true, mutations };
    };
    await this.#taken(signal, () => transact(this.#store, WHAT, signal, work));
  }

  async #taken<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const { client, onRetry } = this.#store;
    return await untilTaken({ runtime: client.runtime, onRetry }, signal, () => unlessThrottled(work()));
  }
}
