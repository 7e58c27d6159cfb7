// Rows of the control store that daemons of two releases write in turn: what a later one added stays, and what only it can read is refused.
import { expect, test } from 'vitest';
import { controlKeys, type LeaseRow } from '#core/control-rows.ts';
import type { ControlKey } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import { fencingTokenOf } from '#core/position.ts';
import { tableIdOf } from '#core/schema.ts';
import { readableRows } from '../../src/runtime/readable-rows.ts';
import { rowsOfAPipeline } from '../support/control-rows-of-a-pipeline.ts';
import { memoryControlRows, MemoryControlStore } from '../support/memory-control-store.ts';

const never = new AbortController().signal;
const later = { standsIn: 'rows of a later release' };

/** What a later release makes has a member that this one does not know. */
class RowsOfALaterRelease extends MemoryControlStore {
  readonly writes = new Map<ControlKey, number>();

  override async swap(...[write, signal]: Parameters<MemoryControlStore['swap']>): ReturnType<MemoryControlStore['swap']> {
    const value: unknown = write.expected === null ? { ...(write.value as object), later } : write.value;
    const swap = await super.swap({ ...write, value }, signal);
    if (swap.tag === 'stored') this.writes.set(write.key, (this.writes.get(write.key) ?? 0) + 1);
    return swap;
  }
}

test('a daemon keeps the members of a row that it does not know', async () => {
  const control = new RowsOfALaterRelease(memoryControlRows());
  // A daemon of that release held the lease before.
  const lease: LeaseRow = { token: fencingTokenOf(4), holder: null, describedAs: null, ttlMs: 15_000, renewals: 9 };
  await control.swap({ key: controlKeys.lease('orders'), value: lease, expected: null }, never);
  const rows = await rowsOfAPipeline(control);
  expect(rows.find(({ key }) => key === controlKeys.lease('orders'))?.value).toMatchObject({ token: 6, holder: null });
  // The status is one process's own, and made anew each time.
  const changed = rows.filter(({ key }) => key !== controlKeys.status('orders'));
  expect(changed.map(({ key, value }) => [key, (value as { readonly later?: unknown }).later])).toEqual(
    [
      controlKeys.checkpoint('orders'),
      controlKeys.desired('orders'),
      controlKeys.epoch('orders'),
      controlKeys.lease('orders'),
      controlKeys.load('orders', tableIdOf('public', 'orders'), null),
      controlKeys.request('orders', 'replay'),
      controlKeys.stepDown('orders'),
      controlKeys.sink('orders', 'warm'),
      `table/orders/public.orders`,
    ].map((key) => [key, later]),
  );
  // Each was changed by the product after it was made; what is wanted is changed by the command line alone.
  const untouched = changed.filter(({ key }) => (control.writes.get(key) ?? 0) < 2).map(({ key }) => key);
  expect(untouched).toEqual([controlKeys.desired('orders')]);
});

test.each([
  [2, /the row lease\/orders in the control store has format 2, of a newer release; this one reads 1/],
  [0, /format 0, of an older release/],
  ['1', /a format that is no number/],
])('a row of format %j is refused wherever it is met', async (format, message) => {
  const inner = new MemoryControlStore(memoryControlRows());
  const control = readableRows(inner);
  const key = controlKeys.lease('orders');
  await inner.swap({ key, value: { format, token: 7 }, expected: null }, never);
  const stale = 'stale' as NonNullable<Parameters<typeof control.remove>[1]>;
  for (const met of [
    control.get(key, never),
    control.list('lease/', never),
    control.swap({ key, value: {}, expected: null }, never),
    control.remove(key, stale, never),
  ]) {
    const error: unknown = await met.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(CausewayError);
    expect(error).toMatchObject({ code: 'control_format_unknown', message: expect.stringMatching(message) as string });
  }
  expect((await inner.get(key, never))?.value).toEqual({ format, token: 7 });
});

test('rows of the first format name none, and may name it', async () => {
  const control = readableRows(new MemoryControlStore(memoryControlRows()));
  const key = controlKeys.lease('orders');
  await control.swap({ key, value: { token: 7 }, expected: null }, never);
  const row = await control.get(key, never);
  expect(row?.value).toEqual({ token: 7 });
  await control.swap({ key, value: { format: 1, token: 7 }, expected: row?.version ?? null }, never);
  expect((await control.list('lease/', never)).map(({ value }) => value)).toEqual([{ format: 1, token: 7 }]);
});
