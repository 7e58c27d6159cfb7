import { describe, expect, it } from 'vitest';
import { CausewayError } from '#core/errors.ts';
import type { DeadLetters } from '#core/log.ts';
import { present } from '#core/assert.ts';
import type { Row } from '#core/value.ts';
import { seededRandom } from '../support/test-runtime.ts';
import { del, opened, part, Publisher, put, schema, truncate, watermark, type Bare, type Stage } from './stage.ts';

/** Everything that parks, releases, splits, ends a batch or moves a floor, in two partitions and two generations. */
async function history(): Promise<Stage> {
  const { stage, first } = await opened({ partitions: 2, limits: { batchRowsMax: 3 } });
  stage.sinkStore.poison = (_schema, row) => (row.includes('bad') ? 'the sink does not take it' : null);
  const ids = ['1', '2', '3', '4', '5', '6', '7', '8'];
  await first.send(...ids.map((id) => put(id, 10, 'a')), watermark(10));
  await first.send(put('1', 11, 'b', 'bad'), part('2', 11, 'p'), del('3', 11), part('3', 12, 'key change'), watermark(12));
  const before = { counters: [...first.counters] };
  await first.send(truncate(20), put('4', 21, 'after'), put('1', 21, 'good'), part('4', 22, 'p'), put('5', 22, 'x', 'bad'), watermark(22));
  const second = new Publisher(stage, 2);
  await second.open({ acknowledged: before.counters.map((counter) => ({ generation: 1 as never, counter })) });
  await second.send({ tag: 'schema', schema });
  await first.send(put('6', 90, 'zombie'));
  await second.send(truncate(20), put('4', 21, 'after'), put('1', 21, 'good'), part('4', 22, 'p'), put('5', 22, 'x', 'bad'), watermark(22));
  await second.send(put('6', 30, 'new'), part('6', 31, 'newer'), part('5', 31, 'marks'), put('7', 32, 'z'), del('7', 33), watermark(33));
  return stage;
}

function outcomeOf(stage: Stage): unknown {
  const rows = [...(stage.sinkStore.tables.get(schema.table)?.rows ?? [])]
    .map(([key, { sequence, values }]) => [key, sequence, values === null ? null : [...values]])
    .sort();
  const letters = stage.letters().map(({ key, sequence, whole }) => [key, sequence, whole]);
  return {
    rows,
    letters: letters.sort(),
    swept: [...stage.sinkStore.swept],
    offsets: [stage.progress(0)?.offset, stage.progress(1)?.offset],
  };
}

/** Counts the calls at every port that keeps something, and ends the process at one of them: nothing works for it from then on. */
function crashAt(stage: Stage, crashCall: number): { readonly calls: () => number; readonly repair: () => void } {
  let calls = 0;
  const step = (): void => {
    calls += 1;
    if (calls >= crashCall) throw new CausewayError('internal', 'crash');
  };
  stage.sinkStore.onCall = step;
  const log = stage.log();
  const deadLetters = log.deadLetters.bind(log);
  Object.assign(log, {
    deadLetters: (consumer: string): DeadLetters => {
      const queue = deadLetters(consumer);
      return {
        read: (...given) => queue.read(...given),
        readReleased: (...given) => queue.readReleased(...given),
        take: async (...given) => {
          step();
          const held = await queue.take(...given);
          step();
          return {
            park: async (...letters) => {
              step();
              await held.park(...letters);
              step();
            },
            release: async (...releases) => {
              step();
              await held.release(...releases);
              step();
            },
            forget: async (...replays) => {
              step();
              await held.forget(...replays);
              step();
            },
          };
        },
      };
    },
  });
  stage.log = () => log;
  return {
    calls: () => calls,
    repair: () => {
      stage.sinkStore.onCall = null;
      delete (stage as { log?: unknown }).log;
    },
  };
}

describe('a crash at each port call in turn', () => {
  it('loses nothing and doubles nothing once it runs again', async () => {
    const calm = await history();
    const { calls, repair } = crashAt(calm, Number.POSITIVE_INFINITY);
    expect((await calm.drain()).code()).toBeNull();
    repair();
    await calm.drain();
    const expected = outcomeOf(calm);
    expect(calm.rows()).toEqual({ 1: ['good', 'big'], 4: ['p', 'big'], 6: ['newer', 'big'] });
    expect(calls()).toBeGreaterThan(40);
    for (let crashCall = 1; crashCall <= calls(); crashCall += 1) {
      const stage = await history();
      const crash = crashAt(stage, crashCall);
      const run = await stage.drain();
      expect(run.code(), `call ${String(crashCall)}`).not.toBeNull();
      crash.repair();
      expect((await stage.drain()).code(), `call ${String(crashCall)}`).toBeNull();
      expect(outcomeOf(stage), `call ${String(crashCall)}`).toEqual(expected);
    }
  });
});

type Model = { readonly sent: Bare[]; readonly rows: Map<string, Row> };

/** A source's history, drawn by chance: whole and partial images, deletes, truncates, watermarks. */
function drawHistory(random: () => number, length: number): Model {
  const rows = new Map<string, Row>();
  const sent: Bare[] = [];
  for (let commit = 10; commit < 10 + length; commit += 1) {
    const id = String(Math.floor(random() * 6));
    const draw = random();
    const live = rows.get(id);
    if (draw < 0.03) {
      rows.clear();
      sent.push(truncate(commit));
    } else if (draw < 0.1) {
      sent.push(watermark(commit - 1));
    } else if (live !== undefined && draw < 0.25) {
      rows.delete(id);
      sent.push(del(id, commit));
    } else if (live !== undefined && draw < 0.65) {
      rows.set(id, [`p${String(commit)}`, present(live[1], 'large column')]);
      sent.push(part(id, commit, `p${String(commit)}`));
    } else {
      rows.set(id, [`w${String(commit)}`, `B${String(commit)}`]);
      sent.push(put(id, commit, `w${String(commit)}`, `B${String(commit)}`));
    }
  }
  return { sent, rows };
}

describe('chance', () => {
  it.each(Array.from({ length: 40 }, (_, seed) => seed + 1))(
    'seed %i: generations, lost replies, kills, failovers, two appliers end as the source',
    async (seed) => {
      const random = seededRandom(seed);
      const { stage, first } = await opened({ partitions: 2, limits: { batchRowsMax: 1 + Math.floor(random() * 6) } });
      await stage.drain();
      const { sent, rows } = drawHistory(random, 150);
      let faults = 60;
      stage.sinkStore.onCall = () => {
        if (faults > 0 && random() < 0.1) {
          faults -= 1;
          throw new CausewayError(random() < 0.8 ? 'sink_unavailable' : 'sink_throttled', 'by chance');
        }
      };
      let publisher = first;
      let at = 0;
      let acknowledged = { at: 0, pairs: [first.pair(0), first.pair(1)] };
      let kept = stage.sinkStore.keep();
      const running = [stage.start()];
      while (at < sent.length) {
        const until = Math.min(sent.length, at + 1 + Math.floor(random() * 12));
        for (; at < until; at += 1) await publisher.send(present(sent[at], 'record'));
        await stage.clock.advance(random() * 1_500);
        const draw = random();
        if (draw < 0.15) acknowledged = { at, pairs: [publisher.pair(0), publisher.pair(1)] };
        else if (draw < 0.3) {
          const before = publisher;
          publisher = new Publisher(stage, before.generation + 1);
          await publisher.open({ acknowledged: acknowledged.pairs });
          if (random() < 0.5) await before.send(put('0', 9_999, 'zombie'));
          at = acknowledged.at;
        } else if (draw < 0.45) {
          await running.shift()?.kill();
          running.push(stage.start());
        } else if (draw < 0.5 && running.length < 2) running.push(stage.start());
        else if (draw < 0.55) kept = stage.sinkStore.keep();
        else if (draw < 0.6) kept();
      }
      await publisher.send(watermark(1_000));
      faults = 0;
      for (const run of running) await run.kill();
      expect((await stage.drain()).code()).toBeNull();
      expect(stage.rows()).toEqual(Object.fromEntries(rows));
      expect(stage.letters()).toEqual([]);
      // From the start again, over what is there: nothing changes.
      const before = outcomeOf(stage);
      for (const [partition, progress] of stage.sinkStore.progress) {
        stage.sinkStore.progress.set(partition, { ...progress, offset: 0 as never, pair: null, holder: null, watermark: null, floors: [] });
      }
      const replay = await stage.drain();
      expect(replay.code()).toBeNull();
      expect(outcomeOf(stage)).toEqual(before);
      expect(replay.outcomes.get('applied')).toBeUndefined();
    },
  );
});
