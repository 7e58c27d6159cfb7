import { CausewayError } from '#core/errors.ts';
import { parseRowKey, type RowKey } from '#core/key.ts';
import type { ReconcilePlace, ReconcileTable } from '#core/reconcile-row.ts';
import type { RowReader, RowsRead } from '#core/row-reader.ts';
import type { SchemaVersion, TableSchema } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';
import type { SinkRow } from '#core/sink.ts';
import type { ReconcileDeps } from './deps.ts';
import type { Pace } from './pace.ts';
import { Pairing, type KeyedRow } from './pairing.ts';
import type { SinkStanding } from './standing.ts';
import { Suspects } from './suspects.ts';

export type TablePassInput = {
  readonly deps: ReconcileDeps;
  readonly standing: SinkStanding;
  readonly pace: Pace;
  readonly look: (keys: readonly RowKey[], signal: AbortSignal) => Promise<void>;
  /** Everything up to the place is compared, and what differed looked at. */
  readonly onPlace: (place: ReconcilePlace, rows: number) => Promise<void>;
};

/** With more keys that one scan brought and the other has not, no place is stored. */
const APART_MAX = 2_000;
const APART_TEXT_MAX = 32 * 1024;

/**
 * Compares all of a table by one scan of the source and one of the sink, side by side, each in its own order. Returns the rows of the
 * source. Errors: `reconcile_inconclusive` where the schema changes meanwhile; those of source and sink.
 */
export async function compareWhole(input: TablePassInput, table: ReconcileTable, signal: AbortSignal): Promise<number> {
  const { deps, look } = input;
  const { suspectsMax, closeLookKeys } = deps.options;
  const suspects = new Suspects({ keysMax: suspectsMax, keysAtOnce: closeLookKeys, look });
  const failure = new AbortController();
  const inner = AbortSignal.any([signal, failure.signal]);
  const looking = suspects.run(inner).catch((error: unknown) => {
    failure.abort(error);
    throw error;
  });
  try {
    const rows = await new Scans(input, suspects).run(table, inner);
    suspects.end();
    await looking;
    return rows;
  } catch (error) {
    failure.abort(error);
    await looking.catch(() => undefined);
    throw failure.signal.aborted && !signal.aborted ? failure.signal.reason : error;
  }
}

/** The two scans of one table. */
class Scans {
  readonly #input: TablePassInput;
  readonly #suspects: Suspects;
  #rows = 0;
  #savedAtMs: number;
  #place: { source: RowKey | null; sink: RowKey | null } = { source: null, sink: null };

  constructor(input: TablePassInput, suspects: Suspects) {
    this.#input = input;
    this.#suspects = suspects;
    this.#savedAtMs = input.deps.runtime.monotonicMs();
  }

  async run(table: ReconcileTable, signal: AbortSignal): Promise<number> {
    const { deps } = this.#input;
    const { place } = table;
    this.#place = { source: place?.source ?? null, sink: place?.sink ?? null };
    await using rows = deps.source.rows();
    await using spill = deps.spill();
    const source = ahead(this.#sourcePages(rows, table, signal));
    const first = await source.next();
    if (first === null) return 0;
    const { schema } = first;
    const pairing = new Pairing({ schema, limits: deps.options, spill, apart: place?.apart ?? [] });
    const sink = ahead(this.#sinkPages(schema, signal));
    const turns = { source: await this.#source(pairing, { page: first, version: schema.version }, signal), sink: false };
    while (!turns.source || !turns.sink) {
      // Whichever brought more waits, so that scans of one order stay side by side.
      if (!turns.source && (turns.sink || pairing.waiting('source') <= pairing.waiting('sink'))) {
        const page = await source.next();
        turns.source = page === null || (await this.#source(pairing, { page, version: schema.version }, signal));
      } else {
        const page = await sink.next();
        turns.sink = page === null;
        await this.#suspects.add(page === null ? pairing.end('sink') : await this.#sink(pairing, page, signal), signal);
      }
      await this.#save(pairing, signal);
    }
    for await (const keys of pairing.spilled()) await this.#suspects.add(keys, signal);
    return this.#rows;
  }

  /** True where it was the last page. */
  async #source(pairing: Pairing, of: { readonly page: RowsRead; readonly version: SchemaVersion }, signal: AbortSignal): Promise<boolean> {
    const { deps, pace } = this.#input;
    const { page, version } = of;
    if (page.schema.version !== version) throw new CausewayError('reconcile_inconclusive', 'the columns of the table changed meanwhile');
    const domain = deps.sink.readBack(page.schema);
    const whole: KeyedRow[] = [];
    const unfit: RowKey[] = [];
    for (const { key, row } of page.rows) {
      const expected = row === null ? null : domain(row);
      if (expected === null) unfit.push(key);
      else whole.push({ key, row: expected });
    }
    await this.#suspects.add([...pairing.setApart('source', unfit), ...(await pairing.add('source', whole))], signal);
    this.#rows += page.rows.length;
    this.#place.source = page.rows.at(-1)?.key ?? this.#place.source;
    if (page.isWhole) await this.#suspects.add(pairing.end('source'), signal);
    await pace.took(page.rows.length, signal);
    return page.isWhole;
  }

  async #sink(pairing: Pairing, page: SinkPage, signal: AbortSignal): Promise<readonly RowKey[]> {
    const live: KeyedRow[] = [];
    const ahead: RowKey[] = [];
    for (const { key, row, sequence } of page.rows) {
      // A sequence that no change can have brought yet keeps later ones out, whatever the row is.
      if (sequence !== null && (page.newest === null || sequence > page.newest)) ahead.push(key);
      else if (row !== null) live.push({ key, row });
    }
    this.#place.sink = page.rows.at(-1)?.key ?? this.#place.sink;
    signal.throwIfAborted();
    return [...pairing.setApart('sink', ahead), ...(await pairing.add('sink', live))];
  }

  async *#sourcePages(rows: RowReader, table: ReconcileTable, signal: AbortSignal): AsyncGenerator<RowsRead> {
    const { chunkRowsMax, chunkBytesMax } = this.#input.deps.options;
    let after = this.#place.source;
    while (true) {
      const range = { tag: 'between', after, upTo: null } as const;
      const wanted = { table: table.table, range, rowsMax: chunkRowsMax, bytesMax: chunkBytesMax, accepts: () => true };
      const page = await rows.read(wanted, signal);
      if (page === null) return;
      yield page;
      if (page.isWhole) return;
      after = page.rows.at(-1)?.key ?? after;
    }
  }

  async *#sinkPages(schema: TableSchema, signal: AbortSignal): AsyncGenerator<SinkPage> {
    const { deps, standing } = this.#input;
    const { runtime, options } = deps;
    const after = deps.sink.scansInOrder ? this.#place.sink : null;
    const range = { from: after === null ? null : parseRowKey(after).columns, to: null };
    let newest: Sequence | null = null;
    let lookedAtMs: number | null = null;
    for await (const rows of deps.sink.scan(schema, range, signal)) {
      if (lookedAtMs === null || runtime.monotonicMs() - lookedAtMs >= options.pollMs) {
        newest = await standing.newest(signal);
        lookedAtMs = runtime.monotonicMs();
      }
      // The page begins with the row that the last place was at.
      yield { rows: after === null ? rows : rows.filter(({ key }) => key !== after), newest };
    }
  }

  async #save(pairing: Pairing, signal: AbortSignal): Promise<void> {
    const { deps, onPlace } = this.#input;
    const nowMs = deps.runtime.monotonicMs();
    if (nowMs - this.#savedAtMs < deps.options.saveEveryMs || !deps.sink.scansInOrder || !pairing.isInMemory) return;
    if (pairing.waiting('source') + pairing.waiting('sink') + pairing.apart.length > APART_MAX) return;
    this.#savedAtMs = nowMs;
    await this.#suspects.add(pairing.setAllApart(), signal);
    const place = { ...this.#place, apart: pairing.apart };
    // The run's row has to fit the control store, with the places of other tables.
    if (place.apart.reduce((length, key) => length + key.length, 0) > APART_TEXT_MAX) return;
    const rows = this.#rows;
    this.#suspects.mark(() => onPlace(place, rows));
  }
}

/** `newest`: everything at or below it stands at the sink; null where nobody knows. */
type SinkPage = { readonly rows: readonly SinkRow[]; readonly newest: Sequence | null };

/** Asks for the next page while one is worked on. Null at the end. */
function ahead<T>(pages: AsyncGenerator<T>): { readonly next: () => Promise<T | null> } {
  const ask = async (): Promise<T | null> => {
    const page = await pages.next();
    return page.done === true ? null : page.value;
  };
  let asked: Promise<T | null> | null = null;
  return {
    next: async () => {
      const now = asked ?? ask();
      asked = now.then((page) => (page === null ? null : ask()));
      // An error is told to whoever asks.
      asked.catch(() => undefined);
      return await now;
    },
  };
}
