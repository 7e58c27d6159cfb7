import { expect, test } from 'vitest';
import { positionOf, type Epoch, type EpochMicros, type MonoMs } from '#core/position.ts';
import { decodeSequence, watermarkSequence } from '#core/sequence.ts';
import { Watermarks } from '../../src/capture/watermark.ts';

const epoch = 1 as Epoch;
const at = (ms: number): MonoMs => ms as MonoMs;

function watermarks(sequence = 500n): Watermarks {
  return new Watermarks({
    epoch,
    sequence: watermarkSequence(epoch, sequence),
    position: positionOf('501'),
    intervalMs: 1_000,
    idleIntervalMs: 5_000,
  });
}

function commit(of: Watermarks, place: bigint, time: number): void {
  of.committed({ tag: 'commit', position: positionOf(String(place + 1n)), commit: place, committedAt: time as EpochMicros, records: 1 });
}

test('none is due before a transaction has told the source’s time', () => {
  const marks = watermarks();
  marks.changesFlowed(true);
  expect(marks.due(at(60_000))).toBeNull();
});

test('one a second while changes flow, one in five when idle, and one at once after a large transaction', () => {
  const marks = watermarks();
  commit(marks, 600n, 10);
  expect(marks.due(at(0))).not.toBeNull();
  expect(marks.due(at(4_949))).toBeNull();
  expect(marks.due(at(5_000))).not.toBeNull();
  marks.changesFlowed(false);
  expect(marks.due(at(5_949))).toBeNull();
  expect(marks.due(at(6_000))).not.toBeNull();
  marks.changesFlowed(true);
  expect(marks.due(at(6_001))).not.toBeNull();
});

test('transactions that are sent again move neither sequence nor time back', () => {
  const marks = watermarks();
  commit(marks, 400n, 10);
  const first = marks.due(at(0));
  expect(first === null ? null : decodeSequence(first.sequence).commit).toBe(500n);
  expect(first?.position).toBe('501');
  commit(marks, 600n, 20);
  commit(marks, 550n, 15);
  const second = marks.due(at(10_000));
  expect(second).toMatchObject({ sequence: watermarkSequence(epoch, 600n), position: '601', sourceTime: 20 });
});
