// Marks in the source and counted heartbeats tell a server that was put back to an earlier state (counterexample 25).
import { expect, test } from 'vitest';
import { controlKeys, type EpochRow } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import type { FakeCall } from '../support/fake-source.ts';
import { PIPELINE, World } from './world.ts';

const knownMarks = (world: World): readonly string[] =>
  ((world.row(controlKeys.epoch(PIPELINE)) as EpochRow | null)?.lineage ?? []).map(({ id }) => id);

async function restart(world: World, times: number): Promise<void> {
  for (let index = 0; index < times; index += 1) await world.stopped(await world.startStreaming());
}

function world(): World {
  const made = new World();
  made.database.createTable('public.items');
  return made;
}

test('each start leaves a mark, and both sides keep as many as are of use', async () => {
  const w = world();
  await restart(w, 3);
  expect(knownMarks(w)).toHaveLength(3);
  expect(w.database.marks).toEqual(knownMarks(w));
  await restart(w, 20);
  expect(knownMarks(w)).toHaveLength(16);
  expect(w.database.marks).toEqual(knownMarks(w));
});

test('a source that lacks a mark is another one, whatever it says of itself', async () => {
  const w = world();
  await restart(w, 1);
  const copy = w.database.marks;
  await restart(w, 1);
  w.database.marks = copy;
  // It was written to since, so the end of its log says nothing.
  w.database.grow(100_000n);
  const process = w.start();
  await w.clock.advance(3_000);
  expect(process.outcome()?.error).toMatchObject({ code: 'source_identity_changed' });
  expect(w.database.marks).toEqual(copy);
});

test('a start that ends between the mark and its row, or before the mark, stops nobody', async () => {
  for (const at of ['source', 'control'] as const) {
    const w = world();
    await restart(w, 1);
    const before = knownMarks(w);
    const fail = (): void => {
      throw new CausewayError('source_unavailable', 'the connection was ended');
    };
    if (at === 'source') {
      w.database.onCall = (call: FakeCall) => (call === 'mark' ? fail() : undefined);
      await restart(w, 1);
      w.database.onCall = null;
      expect(w.database.marks).toEqual(before);
    } else {
      // As after a crash right behind the insertion: the source has a mark that nobody knows of.
      w.database.mark();
    }
    expect(knownMarks(w)).toEqual(before);
    await restart(w, 2);
    expect(knownMarks(w)).toHaveLength(3);
  }
});

test('heartbeats that count on from an earlier state end capture, while it runs and at the next start', async () => {
  const w = world();
  const process = await w.startStreaming({}, 60_000);
  const captured = w.checkpoint.heartbeats ?? 0;
  expect(captured).toBeGreaterThan(2);
  w.database.heartbeats = 1;
  await w.clock.advance(60_000);
  expect(process.outcome()?.error).toMatchObject({ code: 'source_identity_changed' });
  const next = w.start();
  await w.clock.advance(60_000);
  expect(next.outcome()?.error).toMatchObject({ code: 'source_identity_changed' });
  w.database.heartbeats = captured;
  await w.stopped(await w.startStreaming());
});
