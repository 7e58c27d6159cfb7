// A sink without transactions, as DynamoDB is one: the rows of a batch take effect one by one, each by a request of its own, and what goes
// wrong with one of them leaves the others. Under which holder and behind which progress is decided by the connector's own partition.
import { assert, present } from '#core/assert.ts';
import { fencingTokenOf } from '#core/position.ts';
import type { Runtime } from '#core/runtime.ts';
import { SEQUENCE_ZERO } from '#core/sequence.ts';
import type { Floor, RowChange, RowOutcome, Sink } from '#core/sink.ts';
import type { TableSchema } from '#core/schema.ts';
import type { Held } from '../../connectors/sink-dynamodb/own-rows.ts';
import { DynamoPartition } from '../../connectors/sink-dynamodb/partition.ts';
import { allEnded, unlessThrottled, untilTaken } from '../../connectors/lib/sink/throttled.ts';
import type { MemorySinkStore, SinkCall } from '../support/memory-sink.ts';
import { lineSink, type SinkWatch } from './ports.ts';
import type { Line } from './network.ts';
import type { Site } from './sites.ts';

/** Rows of a batch that are on their way at once. */
const AT_ONCE = 4;
/** Small, so that other writes fall between two pages of a scan. */
const PAGE_ROWS = 5;

const STALE: RowOutcome = { tag: 'stale' };
const WITHOUT_BASE: RowOutcome = { tag: 'rejected', code: 'partial_without_base', reason: 'there is no live row' };

type RowwiseInput = {
  readonly name: string;
  readonly store: MemorySinkStore;
  readonly batchRowsMax: number;
  readonly runtime: Runtime;
};

export function rowwiseSink(line: Line, of: RowwiseInput, watch: SinkWatch): Sink {
  const { store, runtime } = of;
  const whole = lineSink(line, of, watch);
  let claimant: string | null = null;
  const call = <T>(site: Site, signal: AbortSignal, effect: () => T): Promise<T> =>
    line.call(site, signal, effect, { extraMs: line.network.sinkDelayMs.get(of.name) ?? 0 });
  const write = async (partition: number, rows: readonly RowChange[], signal: AbortSignal): Promise<readonly RowOutcome[]> => {
    const outcomes = new Array<RowOutcome>(rows.length);
    const left = [...rows.entries()];
    const lane = async (): Promise<void> => {
      for (let next = left.shift(); next !== undefined; next = left.shift()) {
        const [at, change] = next;
        const put = (): Promise<RowOutcome | null> => unlessThrottled(writeRow({ call, store, partition }, change, signal));
        outcomes[at] = await untilTaken({ runtime, onRetry: () => undefined }, signal, put);
      }
    };
    await allEnded(Array.from({ length: AT_ONCE }, lane));
    tell(store, { name: 'apply', partition, rows, progress: null });
    return outcomes;
  };
  return {
    ...whole,
    kind: 'rowwise',
    scansInOrder: false,
    claim: async (by, signal) => {
      await whole.claim(by, signal);
      claimant = by.owner;
    },
    assign: async (partition, signal) => {
      const owner = present(claimant, 'a claim before a partition is taken');
      const take = () => ({ held: raise(store, partition, owner), arrived: watch.assigned(partition) });
      const { held, arrived } = await call('sink.assign', signal, take);
      arrived();
      return new DynamoPartition({
        held,
        own: {
          held: (_, looking) => call('sink.look', looking, () => heldIn(store, partition)),
          replace: (before, after, stepping) => call('sink.step', stepping, () => replace(store, before, after)),
        },
        verify: () => Promise.resolve(),
        write: (rows, writing) => write(partition, rows, writing),
      });
    },
    sweep: (schema, floor, signal) => sweep({ call, store }, { schema, floor }, signal),
  };
}

/** What looks at the store does so at once. */
function tell(store: MemorySinkStore, call: SinkCall): void {
  assert(store.onCall?.('after', call) === undefined, 'who looks at an effect looks at once');
}

type Call = <T>(site: Site, signal: AbortSignal, effect: () => T) => Promise<T>;

async function writeRow(
  { call, store, partition }: { readonly call: Call; readonly store: MemorySinkStore; readonly partition: number },
  change: RowChange,
  signal: AbortSignal,
): Promise<RowOutcome> {
  const { key, schema } = change;
  const put = (): RowOutcome => {
    const outcome = store.write(change);
    tell(store, { name: 'apply', partition, rows: [change], progress: null });
    return outcome;
  };
  if (change.tag !== 'partial') return call('sink.put', signal, put);
  while (true) {
    const found = await call('sink.read', signal, () => store.stored(schema.table, key));
    if (found === undefined) return WITHOUT_BASE;
    if ((found.sequence ?? SEQUENCE_ZERO) >= change.sequence) return STALE;
    if (found.values === null) return WITHOUT_BASE;
    const isAsRead = (): boolean => store.stored(schema.table, key)?.sequence === found.sequence;
    const outcome = await call('sink.put', signal, () => (isAsRead() ? put() : null));
    if (outcome !== null) return outcome;
  }
}

function heldIn(store: MemorySinkStore, partition: number): Held | null {
  const token = store.fences.get(partition);
  if (token === undefined || store.owner === null) return null;
  const progress = store.progress.get(partition) ?? null;
  return { partition, owner: store.owner, token: fencingTokenOf(token), progress, writes: store.writes.get(partition) ?? 0 };
}

function raise(store: MemorySinkStore, partition: number, owner: string): Held {
  store.checkOwner(owner);
  store.fences.set(partition, (store.fences.get(partition) ?? 0) + 1);
  return present(heldIn(store, partition), 'a partition that was just taken');
}

/** False, with nothing changed, where it is not as `before` any more. */
function replace(store: MemorySinkStore, before: Held, after: Held): boolean {
  const { partition, progress, writes } = after;
  if (JSON.stringify(heldIn(store, partition)) !== JSON.stringify(before)) return false;
  if (progress !== null) store.progress.set(partition, progress);
  store.writes.set(partition, writes);
  if (progress !== null) tell(store, { name: 'save', partition, progress });
  return true;
}

/** By a scan, which sees nothing that is new since it began; each row is buried where it is still older. */
async function sweep(
  { call, store }: { readonly call: Call; readonly store: MemorySinkStore },
  { schema, floor }: { readonly schema: TableSchema; readonly floor: Floor },
  signal: AbortSignal,
): Promise<{ readonly rows: number }> {
  const { table, sequence } = floor;
  const isDone = await call('sink.sweeps', signal, () => (store.swept.get(table) ?? '') >= sequence);
  if (isDone) return { rows: 0 };
  const keys = await call('sink.sweep', signal, () => [...store.table(schema.table).rows.keys()]);
  const bury = (key: (typeof keys)[number]): number => {
    const stored = store.stored(table, key);
    if ((stored?.sequence ?? sequence) >= sequence) return 0;
    store.table(table).rows.set(key, { sequence, values: null });
    return stored?.values === null ? 0 : 1;
  };
  let rows = 0;
  for (let from = 0; from < keys.length; from += PAGE_ROWS) {
    await call('sink.sweep', signal, () => store.checkPassed(floor));
    const buried = keys.slice(from, from + PAGE_ROWS).map((key) => call('sink.put', signal, () => bury(key)));
    rows += (await allEnded(buried)).reduce((sum, one) => sum + one, 0);
  }
  await call('sink.sweep', signal, () => {
    store.checkPassed(floor);
    if ((store.swept.get(table) ?? '') < sequence) store.swept.set(table, sequence);
    tell(store, { name: 'sweep' });
  });
  return { rows };
}
