import Bottleneck from 'bottleneck';
import { CausewayError, type ErrorCode } from '#core/errors.ts';
import type { TableId } from '#core/schema.ts';
import type { Sender } from './client.ts';
import type { SinkConfig } from './config.ts';
import type { OwnTable } from './own-table.ts';
import { items } from './read.ts';
import type { Shape } from './shape.ts';
import { allEnded } from '../lib/sink/throttled.ts';
import { assertRegion, describeTable, differencesOf, expiryOf, indexKeysOf, wantedTable } from './tables.ts';

/** Between two looks whether a table is still the one that the progress belongs to. */
const VERIFY_MS = 60_000;
/** All sinks and tools of an account share what a region answers about tables ("Service quotas", Control plane). */
const LOOKS_AT_ONCE = 8;

type Verified = { readonly dueMs: number; readonly by: AbortSignal; readonly indexKeys: Promise<ReadonlySet<string>> };

/**
 * Whether tables are those that the progress belongs to, as they have to be and nobody else's: looked at when rows are first written, and then
 * once a minute, also while none come. Rows and progress are restored apart from each other. Of many tables each has its own place in the
 * minute.
 */
export class VerifiedTables {
  readonly #client: Sender;
  readonly #config: SinkConfig;
  readonly #own: OwnTable;
  readonly #onRetry: (code: ErrorCode) => void;
  /** By source table: two of them can be sent to one table by mistake. */
  readonly #verified = new Map<TableId, Verified>();
  readonly #shapes = new Map<TableId, Shape>();
  readonly #looks = new Bottleneck({ maxConcurrent: LOOKS_AT_ONCE });

  constructor(of: {
    readonly client: Sender;
    readonly config: SinkConfig;
    readonly own: OwnTable;
    readonly onRetry: (code: ErrorCode) => void;
  }) {
    this.#client = of.client;
    this.#config = of.config;
    this.#own = of.own;
    this.#onRetry = of.onRetry;
  }

  /** Makes the table this sink's, if nothing stands in it. Errors: `sink_misconfigured`. */
  async take(shape: Shape, signal: AbortSignal): Promise<void> {
    this.#shapes.set(shape.schema.table, shape);
    await this.#own.take({ tableName: shape.tableName, table: shape.schema.table }, () => this.#isEmpty(shape, signal), signal);
  }

  /** The attributes that key its indexes. Errors: `sink_table_replaced`, `sink_misconfigured`, `sink_region`. */
  async verify(shape: Shape, signal: AbortSignal): Promise<ReadonlySet<string>> {
    const { table } = shape.schema;
    this.#shapes.set(table, shape);
    const nowMs = this.#client.runtime.monotonicMs();
    let verified = this.#verified.get(table);
    if (verified === undefined || nowMs >= verified.dueMs) {
      const dueMs = this.#nextMs(verified?.dueMs ?? null, nowMs);
      verified = { dueMs, by: signal, indexKeys: this.#looks.schedule(() => this.#look(shape, signal)) };
      this.#verified.set(table, verified);
    }
    try {
      return await verified.indexKeys;
    } catch (error) {
      if (this.#verified.get(table) === verified) this.#verified.delete(table);
      // Who looked gave up; who waited for the same look has not.
      if (verified.by.aborted && !signal.aborted) return await this.verify(shape, signal);
      throw error;
    }
  }

  async verifyAll(signal: AbortSignal): Promise<void> {
    await allEnded([...this.#shapes.values()].map((shape) => this.verify(shape, signal)));
  }

  /** The next look is a new one. */
  forget({ schema }: Shape): void {
    this.#verified.delete(schema.table);
  }

  /** A minute after the look that was due. Looks that came together, as the first ones do, are spread over the minute from here on. */
  #nextMs(dueMs: number | null, nowMs: number): number {
    const nextMs = dueMs === null ? nowMs : dueMs + VERIFY_MS;
    return nextMs > nowMs ? nextMs : nowMs + this.#client.runtime.random() * VERIFY_MS;
  }

  async #look(shape: Shape, signal: AbortSignal): Promise<ReadonlySet<string>> {
    const { schema, tableName } = shape;
    const table = await describeTable(this.#client, tableName, signal);
    if (table === null) throw missing(this.#config, tableName);
    assertRegion(this.#config, tableName, table);
    const differences = differencesOf(wantedTable(shape), table);
    if (differences.length > 0) throw new CausewayError('sink_misconfigured', differences.join('; '));
    const expiry = await expiryOf(this.#client, tableName, signal);
    if (expiry.tag === 'on') {
      throw new CausewayError(
        'sink_misconfigured',
        `rows of the table ${tableName} expire by ${expiry.attribute}, with their sequences, and older changes would bring them back: switch it off`,
      );
    }
    await this.#own.take({ tableName, table: schema.table }, () => Promise.resolve(true), signal);
    // A local store gives no id.
    const now = `${table.TableArn ?? ''} ${table.TableId ?? table.CreationDateTime?.toISOString() ?? ''}`;
    const before = await this.#own.tableId(schema.table, now, signal);
    if (before === now) return indexKeysOf(table);
    throw new CausewayError(
      'sink_table_replaced',
      `the table ${tableName} is not the one that the sink's progress belongs to (${now}, and not ${before}): it was restored, made again, or ` +
        'stands in another region, so that rows can be missing',
    );
  }

  async #isEmpty(shape: Shape, signal: AbortSignal): Promise<boolean> {
    for await (const page of items({ client: this.#client, config: this.#config, onRetry: this.#onRetry }, shape, signal)) {
      if (page.length > 0) return false;
    }
    return true;
  }
}

function missing({ region }: SinkConfig, tableName: string): CausewayError {
  return new CausewayError(
    'sink_misconfigured',
    `there is no table ${tableName} in ${region}: \`causeway check --only sink\` prints what makes it, or set \`provision: create\``,
  );
}
