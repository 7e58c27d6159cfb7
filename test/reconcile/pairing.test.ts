// Two scans of one table come in any order; every key that is not the same on both sides is a suspect, once.
import { describe, expect, test } from 'vitest';
import type { RowKey } from '#core/key.ts';
import { Pairing, type KeyedRow, type Side } from '../../src/reconcile/pairing.ts';
import { seededRandom } from '../support/random.ts';
import { text, tableOf } from './columns.ts';
import { MemorySpill } from './ground.ts';

const schema = tableOf(text, text);
const IN_MEMORY = 1_000_000;

function pairingOf({ pendingTextMax = IN_MEMORY, apart = [] as readonly string[] } = {}): Pairing {
  return new Pairing({ schema, limits: { pendingTextMax }, spill: new MemorySpill(), apart: apart.map(keyOf) });
}

function keyOf(id: string): RowKey {
  return JSON.stringify(['public.t', id]) as RowKey;
}

function rowOf(id: string, value = 'v'): KeyedRow {
  return { key: keyOf(id), row: [id, value] };
}

async function rest(pairing: Pairing): Promise<readonly RowKey[]> {
  const found: RowKey[] = [];
  for await (const some of pairing.spilled()) found.push(...some);
  return found;
}

describe('pairing', () => {
  test.each(['source', 'sink'] as const)('a row waits on the side of the %s until the other brings its key', async (side) => {
    const pairing = pairingOf();
    const other = otherOf(side);
    expect(await pairing.add(side, [rowOf('a'), rowOf('b'), rowOf('c')])).toEqual([]);
    expect(pairing.waiting(side)).toBe(3);
    expect(await pairing.add(other, [rowOf('c'), rowOf('a', 'w')])).toEqual([keyOf('a')]);
    expect([pairing.waiting(side), pairing.waiting(other)]).toEqual([1, 0]);
    expect(pairing.end(other)).toEqual([keyOf('b')]);
    expect(pairing.end(side)).toEqual([]);
  });

  test.each(['source', 'sink'] as const)('what comes behind the end of the other side than the %s is suspect at once', async (side) => {
    const pairing = pairingOf();
    expect(pairing.end(otherOf(side))).toEqual([]);
    expect(await pairing.add(side, [rowOf('a')])).toEqual([keyOf('a')]);
    expect(pairing.end(side)).toEqual([]);
  });

  test.each(['source', 'sink'] as const)('what the %s set apart is no second suspect, whenever the other brings it', async (side) => {
    const other = otherOf(side);
    const before = pairingOf();
    expect(before.setApart(side, [keyOf('a')])).toEqual([keyOf('a')]);
    expect(before.apart).toEqual([keyOf('a')]);
    expect(await before.add(other, [rowOf('a')])).toEqual([]);
    expect(before.apart).toEqual([]);
    expect([...before.end(side), ...before.end(other)]).toEqual([]);

    const behind = pairingOf();
    await behind.add(other, [rowOf('a')]);
    expect(behind.setApart(side, [keyOf('a')])).toEqual([keyOf('a')]);
    expect(behind.apart).toEqual([]);
    expect([...behind.end(side), ...behind.end(other)]).toEqual([]);

    const both = pairingOf();
    expect([...both.setApart(side, [keyOf('a')]), ...both.setApart(other, [keyOf('a')])]).toEqual([keyOf('a')]);
    expect(both.apart).toEqual([]);
  });

  test('all that waits is set apart with its keys alone, which a resumed run is given back', async () => {
    const pairing = pairingOf();
    await pairing.add('source', [rowOf('a'), rowOf('b')]);
    await pairing.add('sink', [rowOf('c')]);
    expect(pairing.setAllApart()).toEqual([keyOf('a'), keyOf('b'), keyOf('c')]);
    expect([pairing.waiting('source'), pairing.waiting('sink')]).toEqual([0, 0]);
    expect(pairing.setAllApart()).toEqual([]);
    const resumed = pairingOf({ apart: ['a', 'b', 'c'] });
    expect(await resumed.add('sink', [rowOf('a'), rowOf('d')])).toEqual([]);
    expect(await resumed.add('source', [rowOf('c', 'w')])).toEqual([]);
    expect(resumed.apart).toEqual([keyOf('b')]);
    expect([...resumed.end('source'), ...resumed.end('sink')]).toEqual([keyOf('d')]);
  });

  test('what waits goes to disk in the middle, and is paired there', async () => {
    const pairing = pairingOf({ pendingTextMax: 250 });
    expect(pairing.setApart('source', [keyOf('u')])).toEqual([keyOf('u')]);
    await pairing.add('source', [rowOf('a'), rowOf('b')]);
    expect(pairing.isInMemory).toBe(true);
    await pairing.add('source', [rowOf('c'), rowOf('d')]);
    expect(pairing.isInMemory).toBe(false);
    await pairing.add('sink', [rowOf('d'), rowOf('c', 'w'), rowOf('u'), rowOf('e')]);
    expect([...pairing.end('source'), ...pairing.end('sink')]).toEqual([]);
    expect(new Set(await rest(pairing))).toEqual(new Set(['a', 'b', 'c', 'e'].map(keyOf)));
  });

  test.each(['source', 'sink'] as const)(
    'what the %s sets apart behind the end of the other one, whose row is on disk, is one suspect',
    async (side) => {
      const pairing = pairingOf({ pendingTextMax: 0 });
      await pairing.add(otherOf(side), [rowOf('a'), rowOf('b')]);
      pairing.end(otherOf(side));
      const suspects = [...pairing.setApart(side, [keyOf('a')]), ...(await pairing.add(side, [rowOf('b')])), ...pairing.end(side)];
      expect([...suspects, ...(await rest(pairing))]).toEqual([keyOf('a')]);
    },
  );

  test('nothing was spilled where all fitted', async () => {
    const pairing = pairingOf();
    await pairing.add('source', [rowOf('a')]);
    expect(pairing.end('sink')).toEqual([keyOf('a')]);
    expect(await rest(pairing)).toEqual([]);
  });

  test('what was paired frees its room', async () => {
    const pairing = pairingOf({ pendingTextMax: 400 });
    for (let at = 0; at < 100; at += 1) {
      await pairing.add('source', [rowOf(`r${at}`)]);
      await pairing.add('sink', [rowOf(`r${at}`)]);
      await pairing.add('sink', [rowOf(`s${at}`)]);
      pairing.setApart('source', [keyOf(`s${at}`)]);
      await pairing.add('source', [rowOf(`t${at}`)]);
      pairing.setAllApart();
    }
    expect(pairing.isInMemory).toBe(true);
  });
});

describe('in any order', () => {
  test.each(Array.from({ length: 150 }, (_, seed) => ({ seed })))('each differing key is a suspect once, seed $seed', async ({ seed }) => {
    const random = seededRandom(seed);
    const sides = { source: new Map<string, Part>(), sink: new Map<string, Part>() };
    for (let at = 0; at < 60; at += 1) {
      for (const side of ['source', 'sink'] as const) if (random() < 0.85) sides[side].set(`k${at}`, partOf(random));
    }
    const expected = [...new Set([...sides.source.keys(), ...sides.sink.keys()])].filter((id) => {
      const [a, b] = [sides.source.get(id), sides.sink.get(id)];
      return a === undefined || b === undefined || a === 'apart' || b === 'apart' || a !== b;
    });
    const isInMemory = random() < 0.4;
    let pairing = pairingOf({ pendingTextMax: isInMemory ? IN_MEMORY : Math.floor(random() * 3_000) });
    const suspects: RowKey[] = [];
    const left = { source: shuffled([...sides.source], random), sink: shuffled([...sides.sink], random) };
    const ended = { source: false, sink: false };
    while (!ended.source || !ended.sink) {
      const side: Side = ended.sink || (!ended.source && random() < 0.5) ? 'source' : 'sink';
      const page = left[side].splice(0, 1 + Math.floor(random() * 8));
      const apart = page.filter(([, part]) => part === 'apart').map(([id]) => keyOf(id));
      suspects.push(...pairing.setApart(side, apart));
      suspects.push(
        ...(await pairing.add(
          side,
          page.flatMap(([id, part]) => (part === 'apart' ? [] : [rowOf(id, part)])),
        )),
      );
      if (left[side].length === 0) {
        suspects.push(...pairing.end(side));
        ended[side] = true;
      }
      if (isInMemory && random() < 0.1 && !ended.source && !ended.sink) {
        suspects.push(...pairing.setAllApart());
        // As a run that was interrupted and goes on.
        pairing = new Pairing({ schema, limits: { pendingTextMax: IN_MEMORY }, spill: new MemorySpill(), apart: pairing.apart });
      }
    }
    suspects.push(...(await rest(pairing)));
    expect(new Set(suspects).size).toBe(suspects.length);
    // What waited at an interruption is suspect, the same or not; a close look clears it.
    const surplus = suspects.filter((key) => !expected.map(keyOf).includes(key));
    if (!isInMemory) expect(surplus).toEqual([]);
    expect(expected.map(keyOf).filter((key) => !suspects.includes(key))).toEqual([]);
  });
});

type Part = 'a' | 'b' | 'apart';

function partOf(random: () => number): Part {
  const draw = random();
  return draw < 0.8 ? 'a' : draw < 0.9 ? 'b' : 'apart';
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item) => ({ item, at: random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

function otherOf(side: Side): Side {
  return side === 'source' ? 'sink' : 'source';
}
