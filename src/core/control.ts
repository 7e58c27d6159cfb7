import type { Brand } from './brand.ts';

/** Names a row: `lease/<pipeline>`, `checkpoint/<pipeline>` and so on; src/core/control-rows.ts lists them all. */
export type ControlKey = Brand<string, 'ControlKey'>;

/** Version of a row for compare-and-swap. Opaque; another one after each write, also after a delete and a new create. */
export type RowVersion = Brand<string, 'RowVersion'>;

export type ControlRow = { readonly key: ControlKey; readonly value: unknown; readonly version: RowVersion };

export type Swap =
  { readonly tag: 'stored'; readonly version: RowVersion } | { readonly tag: 'conflict'; readonly current: ControlRow | null };

/**
 * Rows of JSON with a linearizable compare-and-swap on each: the fence of everything that does not commute. It never lives in
 * the database that is failed over. It may be lost or come back old; DESIGN's start rules notice that. Durable before `swap`
 * resolves. Every implementation passes test/contract/control-store.ts. Errors: `control_unavailable` and `control_credentials`
 * (retried), `control_misconfigured`, `control_row_too_large`, `control_damaged`, `control_foreign`.
 */
export interface ControlStore extends AsyncDisposable {
  /**
   * Names the database as `Source.database` and `Sink.database` would, so that one that is failed over is noticed; null where the
   * server does not tell. Absent where it cannot be one.
   */
  database?(signal: AbortSignal): Promise<string | null>;
  get(key: ControlKey, signal: AbortSignal): Promise<ControlRow | null>;
  /**
   * Stores `value` if the row still has the version `expected` (null: if there is no row). An error leaves the outcome unknown:
   * the caller reads again and recognises its own write by what it wrote.
   */
  swap(
    write: { readonly key: ControlKey; readonly value: unknown; readonly expected: RowVersion | null },
    signal: AbortSignal,
  ): Promise<Swap>;
  /** Removes the row if it still has that version. */
  remove(key: ControlKey, expected: RowVersion, signal: AbortSignal): Promise<Swap | { readonly tag: 'removed' }>;
  /** Rows whose key starts with `prefix`, in key order. */
  list(prefix: string, signal: AbortSignal): Promise<readonly ControlRow[]>;
}
