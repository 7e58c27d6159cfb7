import type { LoadRow } from '#core/load-row.ts';
import { untilBeatMs } from '#core/runtime.ts';
import type { TableId } from '#core/schema.ts';
import type { CaptureDeps } from './deps.ts';
import { rideOut } from './heartbeats.ts';
import type { Tables } from './tables.ts';

export type NewcomersInput = {
  readonly deps: CaptureDeps;
  readonly tables: Tables;
  readonly loads: () => readonly LoadRow[];
  /** Lets the stream begin anew. */
  readonly renew: () => void;
};

/**
 * Tables that were made after the pipeline had started, and that a load was asked for: the source is made to carry them, beside the open
 * stream, and then the stream begins anew with them. Until then their changes are left out, which the load makes good.
 */
export class Newcomers {
  readonly #input: NewcomersInput;
  /** The load for which the stream began anew: once for each, as a table that cannot be captured all the same would break it again and again. */
  readonly #tried = new Map<TableId, number>();
  /** Tables that a person was told of. */
  readonly #told = new Set<TableId>();

  constructor(input: NewcomersInput) {
    this.#input = input;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { deps, tables, renew } = this.#input;
    const { runtime, source, options, logger } = deps;
    while (true) {
      await runtime.sleep(untilBeatMs(options.loadPollMs, runtime.monotonicMs()), signal);
      const wanted = this.#wanted();
      if (wanted.size === 0) continue;
      await rideOut({ deps, during: 'beginning to capture tables' }, signal, async () => {
        const carried = await source.follow([...wanted.keys()], signal);
        this.#tellWaiting([...wanted.keys()].filter((table) => !carried.includes(table)));
        if (carried.length === 0) return;
        for (const table of carried) this.#tried.set(table, wanted.get(table) ?? 0);
        tables.expect(carried);
        logger.log('info', 'the stream begins anew, with more tables', { tables: carried.join(', ') });
        renew();
      });
    }
  }

  #tellWaiting(tables: readonly TableId[]): void {
    for (const table of tables) {
      if (this.#told.has(table)) continue;
      this.#told.add(table);
      const text = 'a table waits for transactions that wrote to it before it is captured, or is not there';
      this.#input.deps.logger.log('info', text, { table });
    }
  }

  /** With the time at which the load was asked for. */
  #wanted(): ReadonlyMap<TableId, number> {
    const { tables, loads } = this.#input;
    const waiting = loads().filter(
      ({ table, sink, state, paused }) => sink === null && state === 'open' && !paused && !tables.knows(table),
    );
    const untried = waiting.filter(({ table, startedAtWallMs }) => this.#tried.get(table) !== startedAtWallMs);
    return new Map(untried.map(({ table, startedAtWallMs }) => [table, startedAtWallMs]));
  }
}
