import { describe, expect, it } from 'vitest';
import { present } from '#core/assert.ts';
import { controlKeys, type TableRow } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import { tableSchema } from '#core/schema.ts';
import { at, keyOf, never, opened, part, put, schema, textColumn, truncate, watermark } from './stage.ts';

const ids = Array.from({ length: 12 }, (_, index) => String(index));

describe('truncate', () => {
  it('keeps out what is below its floor and sweeps what stood there, once every partition passed it (counterexample 3)', async () => {
    const { stage, first } = await opened({ partitions: 3 });
    await first.send(...ids.map((id) => put(id, 10, 'old')), watermark(10));
    await stage.drain();
    // Partition 0 is slow: its sink calls wait for a while.
    let slow = true;
    stage.sinkStore.onCall = (when, call) => {
      if (slow && when === 'before' && (call.name === 'apply' || call.name === 'save') && call.partition === 1) {
        throw new CausewayError('sink_unavailable', 'slow');
      }
    };
    await first.send(
      ...ids.map((id) => put(id, 11, 'below')),
      truncate(20),
      ...ids.slice(0, 4).map((id) => put(id, 21, 'after')),
      watermark(21),
    );
    const run = stage.start();
    await stage.clock.advance(5_000);
    expect(run.outcomes.get('swept')).toBeUndefined();
    // Nor was one tried: the sink would have refused it.
    expect(run.outcomes.get('retry sink_went_back')).toBeUndefined();
    expect(run.status().position?.sourceTime ?? 0).toBeLessThan(20_000_000);
    slow = false;
    await stage.clock.advance(30_000);
    expect(Object.keys(stage.rows())).toEqual(['0', '1', '2', '3']);
    expect(stage.rows()['0']).toEqual(['after', 'big']);
    expect(stage.sequenceOf('7')).toBe(at(20));
    expect(stage.sinkStore.swept.get(schema.table)).toBe(at(20));
    expect(run.status().position?.sourceTime).toBe(21_000_000);
    // A repair or a chunk row below the floor that comes late.
    await first.send(put('9', 15, 'late'), put('new', 15, 'late'));
    await stage.clock.advance(2_000);
    expect(Object.keys(stage.rows())).toEqual(['0', '1', '2', '3']);
    expect(run.outcomes.get('filtered')).toBe(2);
    await run.stop();
  });

  it('the floor survives a restart and a crash between the record and its progress', async () => {
    const { stage, first } = await opened();
    await first.send(put('1', 10, 'old'), truncate(20));
    await stage.drain();
    expect(stage.progress()?.floors).toEqual([{ table: schema.table, sequence: at(20) }]);
    await first.send(put('2', 15, 'late'), put('3', 21, 'after'));
    await stage.drain();
    expect(stage.rows()).toEqual({ 3: ['after', 'big'] });
  });

  it('holds the position below the truncate until the sweep is done, and takes the sweep up again', async () => {
    const { stage, first } = await opened();
    let sweeps = 0;
    stage.sinkStore.onCall = (when, call) => {
      if (call.name === 'sweep' && when === 'before' && (sweeps += 1) < 4) throw new CausewayError('sink_unavailable', 'gone');
    };
    const run = stage.start();
    await stage.clock.advance(100);
    await first.send(put('1', 10, 'old'), watermark(10));
    await stage.clock.advance(1_000);
    await first.send(truncate(20), watermark(30));
    await stage.clock.advance(1_500);
    expect(run.status().position?.sourceTime).toBe(10_000_000);
    await stage.clock.advance(60_000);
    expect(run.status().position?.sourceTime).toBe(30_000_000);
    expect(stage.rows()).toEqual({});
    await run.stop();
  });

  it('holds the position below the first of two truncates while its sweep is owed', async () => {
    const { stage, first } = await opened();
    let gone = true;
    stage.sinkStore.onCall = (when, call) => {
      if (call.name === 'sweep' && when === 'before' && gone) throw new CausewayError('sink_unavailable', 'gone');
    };
    const run = stage.start();
    await first.send(put('1', 10, 'old'), watermark(10));
    await stage.clock.advance(1_000);
    await first.send(truncate(20), watermark(25), truncate(30));
    await stage.clock.advance(3_000);
    expect(run.status().position?.sourceTime).toBe(10_000_000);
    await run.stop();
    const again = stage.start();
    await stage.clock.advance(3_000);
    expect(again.status().position).toBeNull();
    gone = false;
    await stage.clock.advance(30_000);
    expect(again.status().position?.sourceTime).toBe(25_000_000);
    expect(stage.rows()).toEqual({});
    await again.stop();
  });

  it('holds the position below it where the sink goes back to before its sweep, and another truncate is read with it', async () => {
    const { stage, first } = await opened();
    let gone = false;
    stage.sinkStore.onCall = (when, call) => {
      // Whoever writes is the first to find out.
      const isLook = call.name === 'sweep' || call.name === 'sweeps' || call.name === 'progress';
      if (isLook && when === 'before' && gone) throw new CausewayError('sink_unavailable', 'gone');
    };
    const run = stage.start();
    await first.send(put('1', 10, 'old'), watermark(10));
    await stage.clock.advance(1_000);
    const goBack = stage.sinkStore.keep();
    await first.send(truncate(20), watermark(25));
    await stage.clock.advance(5_000);
    expect(run.status().position?.sourceTime).toBe(25_000_000);
    gone = true;
    goBack();
    await first.send(truncate(30));
    await stage.clock.advance(5_000);
    expect(run.status().position?.sourceTime ?? 0).toBeLessThan(20_000_000);
    gone = false;
    await stage.clock.advance(30_000);
    expect(run.status().position?.sourceTime).toBe(25_000_000);
    expect(stage.rows()).toEqual({});
    await run.stop();
  });

  it('is swept again where the sink lost the sweep and nothing else', async () => {
    const { stage, first } = await opened();
    let restore: (() => void) | null = null;
    stage.sinkStore.onCall = (when, call) => {
      // The last look before the sweep.
      if (call.name === 'progress' && when === 'after' && stage.progress()?.floors.length === 1) restore ??= stage.sinkStore.keep();
    };
    const run = stage.start();
    await first.send(put('1', 10, 'old'), truncate(20), watermark(21));
    await stage.clock.advance(5_000);
    expect(stage.rows()).toEqual({});
    expect(run.status().position?.sourceTime).toBe(21_000_000);
    present(restore as (() => void) | null, 'state before the sweep')();
    expect(stage.rows()).toEqual({ 1: ['old', 'big'] });
    await stage.clock.advance(5_000);
    expect(stage.rows()).toEqual({});
    await run.stop();
  });

  it('goes on where the sink goes back between the last look and the sweep', async () => {
    const { stage, first } = await opened();
    const run = stage.start();
    await first.send(put('1', 10, 'old'), watermark(10));
    await stage.clock.advance(1_000);
    let goBack: (() => void) | null = stage.sinkStore.keep();
    stage.sinkStore.onCall = (when, call) => {
      if (call.name !== 'progress' || when !== 'after' || stage.progress()?.floors.length !== 1) return;
      goBack?.();
      goBack = null;
    };
    await first.send(truncate(20), watermark(21));
    await stage.clock.advance(10_000);
    expect(goBack).toBeNull();
    expect(run.code()).toBeNull();
    expect(stage.rows()).toEqual({});
    expect(run.status().position?.sourceTime).toBe(21_000_000);
    await run.stop();
  });

  it('is looked at soon after it was passed, where changes bring the progress behind it to the sink', async () => {
    const { stage, first } = await opened();
    const run = stage.start({ controlPollMs: 30_000 });
    await stage.clock.advance(1_000);
    await first.send(put('1', 10, 'old'), truncate(20));
    for (let commit = 21; commit < 25; commit += 1) {
      await stage.clock.advance(150);
      await first.send(put('2', commit, 'after'));
    }
    await stage.clock.advance(150);
    expect(stage.sinkStore.swept.get(schema.table)).toBe(at(20));
    await run.stop();
  });

  it('of a table that the control store has lost is finished once the table is announced again', async () => {
    const { stage, first } = await opened();
    await first.send(put('1', 10, 'old'), truncate(20), watermark(21));
    stage.sinkStore.onCall = (when, call) => {
      if (call.name === 'sweep' && when === 'before') throw new CausewayError('sink_unavailable', 'gone');
    };
    await stage.drain();
    stage.sinkStore.onCall = null;
    const key = controlKeys.table('p', schema.table);
    const row = present(await stage.control.get(key, never), 'row of the table').value as TableRow;
    await stage.write(key, { ...row, schemas: [] } satisfies TableRow);
    const run = stage.start();
    await stage.clock.advance(3_000);
    expect(run.code()).toBeNull();
    expect(run.status().position).toBeNull();
    expect(stage.sinkStore.swept.size).toBe(0);
    await first.send({ tag: 'schema', schema });
    await stage.clock.advance(3_000);
    expect(stage.sinkStore.swept.get(schema.table)).toBe(at(20));
    expect(run.status().position?.sourceTime).toBe(21_000_000);
    await run.stop();
  });

  it('releases the parked keys below it, durably', async () => {
    const { stage, first } = await opened();
    await first.send(part('1', 10, 'a'), part('2', 30, 'b'), truncate(20));
    const run = await stage.drain();
    expect(stage.letters().map(({ key }) => key)).toEqual([keyOf('2')]);
    expect(run.outcomes.get('released floor')).toBe(1);
  });

  it('is swept while a newer schema of its table, which the sink has not taken up, waits behind it', async () => {
    const { stage, first } = await opened();
    await first.send(put('1', 10, 'old'));
    await stage.drain();
    const stricter = tableSchema({ ...schema, columns: [...schema.columns, textColumn('later', { nullable: false })] });
    await stage.tables([[schema, stricter]]);
    await first.send(truncate(20), { tag: 'schema', schema: stricter });
    const run = stage.start();
    await stage.clock.advance(5_000);
    expect(run.code()).toBeNull();
    expect(run.status().state).toBe('blocked');
    expect(stage.sinkStore.swept.get(schema.table)).toBe(at(20));
    expect(stage.rows()).toEqual({});
    await run.stop();
  });
});
