import { describe, expect, it } from 'vitest';
import type { Epoch, EpochMicros, FencingToken, Offset } from '#core/position.ts';
import { tableIdOf } from '#core/schema.ts';
import { encodeSequence, watermarkSequence, type Sequence } from '#core/sequence.ts';
import { hasPassed, type PartitionStanding } from '#core/sink.ts';
import { pendingFloors, sinkPosition } from '../../src/apply/position.ts';
import { Standing } from '../../src/apply/standing.ts';

const epoch = 1 as Epoch;
const table = tableIdOf('public', 't');
const time = (at: number): EpochMicros => at as EpochMicros;
const watermark = (commit: bigint, at = Number(commit)) => ({ sequence: watermarkSequence(epoch, commit), sourceTime: time(at) });
const truncate = (commit: bigint): Sequence => encodeSequence({ epoch, commit, change: 5n, sub: 1 });
const standing = (commit: bigint | null, floors: readonly bigint[] = []): PartitionStanding => ({
  watermark: commit === null ? null : watermark(commit),
  floors: floors.map((floor) => ({ table, sequence: truncate(floor) })),
  openLoads: [],
});

describe('the position of a sink', () => {
  it('is the least of its partitions, and unknown until each has a watermark', () => {
    const at = (standings: readonly (PartitionStanding | null)[]) => sinkPosition({ reported: null, standings, pending: [] });
    expect(at([standing(30n), standing(10n), standing(20n)])).toEqual(watermark(10n));
    expect(at([standing(30n), standing(null)])).toBeNull();
    expect(at([standing(30n), null])).toBeNull();
    expect(at([])).toBeNull();
  });

  it('of equal sequences takes the older time, for that is known of all', () => {
    const older = { ...standing(10n), watermark: watermark(10n, 7) };
    expect(sinkPosition({ reported: null, standings: [standing(10n), older], pending: [] })).toEqual(watermark(10n, 7));
  });

  it('never falls', () => {
    const reported = watermark(20n);
    expect(sinkPosition({ reported, standings: [standing(10n)], pending: [] })).toEqual(reported);
    expect(sinkPosition({ reported, standings: [standing(null)], pending: [] })).toEqual(reported);
    expect(sinkPosition({ reported, standings: [standing(30n)], pending: [] })).toEqual(watermark(30n));
  });

  it('stays below a truncate whose rows are not swept', () => {
    const standings = [standing(30n, [25n]), standing(40n, [25n])];
    const pending = pendingFloors(standings, new Map());
    expect(pending).toEqual([{ table, sequence: truncate(25n) }]);
    expect(sinkPosition({ reported: watermark(20n), standings, pending })).toEqual(watermark(20n));
    expect(sinkPosition({ reported: watermark(20n), standings, pending: [{ table, sequence: truncate(31n) }] })).toEqual(watermark(30n));
    expect(pendingFloors(standings, new Map([[table, truncate(25n)]]))).toEqual([]);
    expect(pendingFloors(standings, new Map([[table, truncate(24n)]]))).toEqual(pending);
  });

  it('a partition has passed a truncate by its own floor or by a watermark above it', () => {
    const floor = { table, sequence: truncate(25n) };
    expect(hasPassed(standing(24n), floor)).toBe(false);
    expect(hasPassed(standing(null), floor)).toBe(false);
    expect(hasPassed(standing(25n), floor)).toBe(true);
    expect(hasPassed(standing(null, [25n]), floor)).toBe(true);
    expect(hasPassed(standing(null, [24n]), floor)).toBe(false);
    expect(hasPassed(standing(null, [26n]), { ...floor, table: tableIdOf('public', 'other') })).toBe(false);
  });
});

describe('the standing in a partition', () => {
  const fresh = (): Standing =>
    new Standing(
      0,
      { offset: 0 as Offset, pair: null, holder: null, watermark: null, floors: [], openLoads: [], epochs: [], replays: 0 },
      { generation: 1 as FencingToken, holder: null, counter: null },
    );

  it('has a watermark and floors that never fall', () => {
    const at = fresh();
    at.raiseWatermark(watermark(20n).sequence, time(20));
    at.raiseWatermark(watermark(10n).sequence, time(30));
    expect(at.watermark).toEqual(watermark(20n));
    at.raiseWatermark(watermark(20n).sequence, time(19));
    expect(at.watermark).toEqual(watermark(20n));
    at.raiseWatermark(watermark(20n).sequence, time(25));
    expect(at.watermark).toEqual(watermark(20n, 25));
    at.raiseFloor(table, truncate(20n));
    at.raiseFloor(table, truncate(10n));
    expect(at.progress().floors).toEqual([{ table, sequence: truncate(20n) }]);
  });

  it('keeps one floor of a table and those whose sweep is owed, however many truncates there were', () => {
    const at = fresh();
    for (let round = 1n; round <= 100n; round += 1n) at.raiseFloor(table, truncate(round * 10n), truncate(round * 10n - 10n));
    expect(at.progress().floors).toEqual([{ table, sequence: truncate(1_000n) }]);
    at.raiseFloor(table, truncate(1_010n), truncate(990n));
    expect(at.progress().floors.map(({ sequence }) => sequence)).toEqual([truncate(1_000n), truncate(1_010n)]);
    expect(at.isBelowFloor(table, truncate(1_010n))).toBe(true);
  });

  it('comes back whole from its progress', () => {
    const at = fresh();
    at.raiseFloor(table, truncate(20n));
    at.raiseWatermark(watermark(21n).sequence, time(21));
    at.openLoad({ table, sink: null });
    at.openEpoch(2 as Epoch, 0x16n);
    at.counter = { generation: 3 as FencingToken, holder: 'a', counter: 7 };
    at.advance(9 as Offset);
    const again = new Standing(0, at.progress(), at.counter);
    expect(again.progress()).toEqual(at.progress());
    expect(again.isBelowFloor(table, truncate(20n))).toBe(true);
    expect(again.isLost(encodeSequence({ epoch, commit: 0x16n, change: 0n, sub: 0 }))).toBe(true);
    expect(again.isLost(encodeSequence({ epoch, commit: 0x15n, change: 9n, sub: 1 }))).toBe(false);
    expect(() => again.advance(8 as Offset)).toThrow();
  });
});
