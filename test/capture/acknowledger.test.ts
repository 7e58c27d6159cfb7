import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { positionOf, type Position } from '#core/position.ts';
import { Acknowledger } from '../../src/capture/acknowledger.ts';

const at = (place: number): Position => positionOf(String(place));
const compare = (a: Position, b: Position): number => Number(a) - Number(b);

type Step =
  | { readonly tag: 'transaction'; readonly records: number }
  | { readonly tag: 'keepalive' }
  | { readonly tag: 'durable'; readonly share: number };

const steps = fc.array(
  fc.oneof(
    fc.record({ tag: fc.constant('transaction' as const), records: fc.nat(5) }),
    fc.record({ tag: fc.constant('keepalive' as const) }),
    fc.record({ tag: fc.constant('durable' as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
  ),
  { maxLength: 60 },
);

/** The same decision from the whole history, slowly. */
function expected(history: readonly Step[]): number | null {
  let place = 0;
  let handed = 0;
  let durable = 0;
  let reached: number | null = null;
  const received: { readonly place: number; readonly records: number }[] = [];
  for (const step of history) {
    place += 10;
    if (step.tag === 'transaction') {
      handed += step.records;
      received.push({ place, records: handed });
    }
    if (step.tag === 'durable') durable += Math.floor((handed - durable) * step.share);
    const waits = received.some(({ records }) => records > durable);
    if (step.tag === 'keepalive' && !waits) reached = place;
    const prefix = received.slice(0, waits ? received.findIndex(({ records }) => records > durable) : received.length);
    const end = prefix.at(-1)?.place ?? null;
    if (end !== null && (reached === null || end > reached)) reached = end;
  }
  return reached;
}

describe('what may be acknowledged', () => {
  test('is the end of the longest durable prefix, at each moment, and a keepalive only when nothing waits', () => {
    fc.assert(
      fc.property(steps, (history) => {
        const acknowledger = new Acknowledger(compare);
        let place = 0;
        let handed = 0;
        let durable = 0;
        let before = -1;
        for (const [index, step] of history.entries()) {
          place += 10;
          switch (step.tag) {
            case 'transaction':
              handed += step.records;
              acknowledger.committed({ position: at(place), commit: BigInt(place), records: handed });
              break;
            case 'keepalive':
              acknowledger.keepalive(at(place));
              break;
            case 'durable':
              durable += Math.floor((handed - durable) * step.share);
              acknowledger.durable(durable);
              break;
          }
          const reached = acknowledger.position === null ? null : Number(acknowledger.position);
          expect(reached).toBe(expected(history.slice(0, index + 1)));
          expect(reached ?? 0).toBeGreaterThanOrEqual(before);
          before = reached ?? 0;
        }
      }),
    );
  });

  test('does not fall when a restarted source sends older transactions again', () => {
    const acknowledger = new Acknowledger(compare);
    acknowledger.committed({ position: at(50), commit: 50n, records: 1 });
    acknowledger.durable(1);
    acknowledger.committed({ position: at(30), commit: 30n, records: 2 });
    acknowledger.durable(2);
    expect([acknowledger.position, acknowledger.commit]).toEqual([at(50), 50n]);
  });

  test('keeps its order over many thousands of waiting transactions', () => {
    const acknowledger = new Acknowledger(compare);
    for (let place = 1; place <= 20_000; place += 1) {
      acknowledger.committed({ position: at(place), commit: BigInt(place), records: place });
    }
    for (let durable = 3_000; durable <= 20_000; durable += 1_000) {
      acknowledger.durable(durable);
      expect(acknowledger.position).toBe(at(durable));
    }
  });
});
