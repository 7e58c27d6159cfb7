// Keys whose partial image found no row: capture is asked for their rows, by itself and not in a loop.
import { describe, expect, it } from 'vitest';
import { present } from '#core/assert.ts';
import { controlKeys, type RequestRow } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import { epochOf, type MonoMs } from '#core/position.ts';
import type { RowsAnswer, RowsRequestArgs } from '#core/rows-request.ts';
import type { TableId } from '#core/schema.ts';
import { watermarkSequence, type Sequence } from '#core/sequence.ts';
import { repairStep, type HeldPartition, type RepairStep } from '../../src/apply/point-repairs.ts';
import { refuseBad } from './letters.ts';
import { at, change, keyOf, never, opened, part, put, truncate, watermark, type Stage } from './stage.ts';

const requestKey = controlKeys.repair('p', 's', 0);

async function requestOf(stage: Stage): Promise<RequestRow | null> {
  return ((await stage.control.get(requestKey, never))?.value as RequestRow | undefined) ?? null;
}

async function askedKeys(stage: Stage): Promise<readonly RowKey[]> {
  return ((await requestOf(stage))?.args as RowsRequestArgs | undefined)?.keys ?? [];
}

/** What capture does: the rows are in the log by then. */
async function answer(stage: Stage, high: number): Promise<void> {
  const request = present(await requestOf(stage), 'a request');
  const args = request.args as RowsRequestArgs;
  const given: RowsAnswer = {
    low: at(high - 1),
    high: watermarkSequence(epochOf(1), BigInt(high)),
    keys: args.keys.map(() => 'published'),
  };
  await stage.write(requestKey, { ...request, state: 'done', result: '', args: { ...args, answer: given } });
}

describe('a partial image that found no row', () => {
  it('is asked for by itself, and released by the row that comes', async () => {
    const { stage, first } = await opened();
    await first.send(part('1', 10, 'x'), part('2', 11, 'y'), watermark(11));
    const run = stage.start();
    await stage.clock.advance(3_000);
    expect(await requestOf(stage)).toEqual({
      kind: 'rows',
      args: { table: 'public.t', sink: 's', keys: [keyOf('1'), keyOf('2')], purpose: 'publish', salt: '', digests: [] },
      state: 'pending',
      result: null,
    });
    // Another one that parks meanwhile waits for the next request.
    await first.send(part('3', 12, 'z'));
    await stage.clock.advance(3_000);
    expect(await askedKeys(stage)).toEqual([keyOf('1'), keyOf('2')]);
    await first.send(change({ id: '1', commit: 20, op: 'repair', row: ['1', 'x', 'big'], sink: 's' }));
    await first.send(change({ id: '2', commit: 20, op: 'repair', sink: 's' }), watermark(21));
    await answer(stage, 21);
    await stage.clock.advance(3_000);
    expect(stage.letters().map(({ key }) => key)).toEqual([keyOf('3')]);
    expect(stage.rows()).toEqual({ 1: ['x', 'big'] });
    expect(stage.sequenceOf('2')).toBe(at(20));
    expect(await askedKeys(stage)).toEqual([keyOf('3')]);
    await first.send(change({ id: '3', commit: 30, op: 'repair', row: ['3', 'z', 'big'] }), watermark(31));
    await answer(stage, 31);
    await stage.clock.advance(3_000);
    expect(await requestOf(stage)).toBeNull();
    expect(run.code()).toBeNull();
    await run.stop();
  });

  it('is asked for again by whoever comes after a crash, and once only where a request waits', async () => {
    const { stage, first } = await opened();
    await first.send(part('1', 10, 'x'), watermark(10));
    const one = stage.start();
    await stage.clock.advance(500);
    await one.kill();
    expect(stage.letters()).toHaveLength(1);
    const two = stage.start();
    await stage.clock.advance(3_000);
    expect(await askedKeys(stage)).toEqual([keyOf('1')]);
    await two.kill();
    const before = await stage.control.get(requestKey, never);
    const three = stage.start();
    await stage.clock.advance(60_000);
    expect(await stage.control.get(requestKey, never)).toEqual(before);
    await three.stop();
  });

  it('neither changes nor releases what a truncate is above', async () => {
    const { stage, first } = await opened();
    await first.send(put('1', 5, 'a'), truncate(30), part('2', 31, 'y'));
    await first.send(change({ id: '1', commit: 20, op: 'repair', row: ['1', 'old', 'big'] }));
    await first.send(change({ id: '2', commit: 20, op: 'repair', row: ['2', 'old', 'big'] }), watermark(31));
    await stage.drain();
    expect(stage.rows()).toEqual({});
    expect(stage.letters().map(({ key }) => key)).toEqual([keyOf('2')]);
  });

  it('waits while the control store is away, and every other key goes on', async () => {
    const { stage, first } = await opened();
    const control = { isAway: true };
    const list = stage.control.list.bind(stage.control);
    await first.send(part('1', 10, 'x'), watermark(10));
    const run = stage.start();
    await stage.clock.advance(100);
    stage.control.list = async (prefix, signal) => {
      if (control.isAway) throw new CausewayError('control_unavailable', 'away');
      return await list(prefix, signal);
    };
    await first.send(put('2', 11, 'b'), watermark(11));
    await stage.clock.advance(10_000);
    expect(stage.rows()).toEqual({ 2: ['b', 'big'] });
    expect(run.status().position?.sourceTime).toBe(11_000_000);
    expect(await requestOf(stage)).toBeNull();
    control.isAway = false;
    await stage.clock.advance(3_000);
    expect(await askedKeys(stage)).toEqual([keyOf('1')]);
    await run.stop();
  });

  it('is not asked for once its row could not be published, nor is a row that the sink refuses', async () => {
    const { stage, first } = await opened();
    refuseBad(stage);
    await first.send(part('1', 10, 'x'), put('2', 11, 'bad'), watermark(11));
    const run = stage.start();
    await stage.clock.advance(3_000);
    expect(await askedKeys(stage)).toEqual([keyOf('1')]);
    await first.send(change({ id: '1', commit: 20, op: 'repair', withheld: 'record_too_large: of 1 byte' }), watermark(21));
    await answer(stage, 21);
    await stage.clock.advance(700_000);
    expect(await requestOf(stage)).toBeNull();
    expect(stage.letters().map(({ code }) => code)).toEqual(['record_too_large', 'value_refused']);
    await run.stop();
  });
});

it('a request that failed is made again, later and later', async () => {
  const { stage, first } = await opened();
  await first.send(part('1', 10, 'x'), watermark(10));
  const run = stage.start();
  const fail = async (): Promise<void> => {
    const request = present(await requestOf(stage), 'a request');
    expect(request.state).toBe('pending');
    await stage.write(requestKey, { ...request, state: 'failed', result: 'public.t is stopped' });
  };
  await stage.clock.advance(3_000);
  await fail();
  await stage.clock.advance(4_000);
  expect(await requestOf(stage)).toBeNull();
  await stage.clock.advance(9_000);
  await fail();
  await stage.clock.advance(9_000);
  expect(await requestOf(stage)).toBeNull();
  await stage.clock.advance(14_000);
  expect(await askedKeys(stage)).toEqual([keyOf('1')]);
  expect(stage.logger.lines.filter(({ fields }) => fields['reason'] === 'public.t is stopped')).toHaveLength(2);
  await run.stop();
});

describe('what is done about a partition’s keys', () => {
  const key = (id: string, table = 'public.t'): RowKey => JSON.stringify([table, id]) as RowKey;
  const awaiting = (...keys: readonly RowKey[]): ReadonlyMap<RowKey, Sequence> => new Map(keys.map((one) => [one, at(10)]));
  const held = (keys: readonly RowKey[], watermarkCommit = 50): HeldPartition => ({
    partition: 0,
    watermark: watermarkSequence(epochOf(1), BigInt(watermarkCommit)),
    awaiting: awaiting(...keys),
  });
  const step = (of: {
    readonly held: HeldPartition;
    readonly request?: RequestRow;
    readonly tries?: RowKey;
    readonly nowMs?: number;
  }): RepairStep =>
    repairStep({
      held: of.held,
      sink: 's',
      request: of.request ?? null,
      tries: new Map(of.tries === undefined ? [] : [[of.tries, { failures: 1, notBeforeMs: 1_000 }]]),
      nowMs: (of.nowMs ?? 0) as MonoMs,
    });
  const request = (of: Partial<RequestRow>, keys: readonly RowKey[], high?: number): RequestRow => {
    const answer: RowsAnswer | undefined =
      high === undefined ? undefined : { low: at(high), high: watermarkSequence(epochOf(1), BigInt(high)), keys: [] };
    const args: RowsRequestArgs = { table: 'public.t' as TableId, sink: 's', keys, purpose: 'publish', salt: '', digests: [] };
    return { kind: 'rows', state: 'done', result: 'why', args: answer === undefined ? args : { ...args, answer }, ...of };
  };

  it('one table is asked for at a time, a thousand keys at most, and none that was asked for in vain a moment ago', () => {
    expect(step({ held: held([]) })).toEqual({ tag: 'wait' });
    const two = held([key('1'), key('1', 'public.u'), key('2')]);
    expect(step({ held: two })).toMatchObject({ tag: 'ask', args: { table: 'public.t', keys: [key('1'), key('2')] } });
    expect(step({ held: two, tries: key('1') })).toMatchObject({ tag: 'ask', args: { table: 'public.u', keys: [key('1', 'public.u')] } });
    expect(step({ held: held([key('1')]), tries: key('1') })).toEqual({ tag: 'wait' });
    expect(step({ held: held([key('1')]), tries: key('1'), nowMs: 1_000 })).toMatchObject({ tag: 'ask' });
    const many = step({ held: held(Array.from({ length: 3_000 }, (_, id) => key(String(id)))) });
    expect(many.tag === 'ask' ? many.args.keys.length : 0).toBe(1_000);
  });

  it('a request is over once the sink is behind what was published, and tells which keys it did not release', () => {
    const keys = [key('1'), key('2')];
    expect(step({ held: held([key('1')]), request: request({ state: 'pending' }, keys) })).toEqual({ tag: 'wait' });
    expect(step({ held: held([key('1')], 39), request: request({}, keys, 40) })).toEqual({ tag: 'wait' });
    expect(step({ held: held([key('3')], 40), request: request({}, keys, 40) })).toEqual({ tag: 'over', failed: [], reason: null });
    expect(step({ held: held([key('2')], 40), request: request({}, keys, 40) })).toMatchObject({ tag: 'over', failed: [key('2')] });
    const again = { ...held([], 40), awaiting: new Map([[key('2'), at(45)]]) };
    expect(step({ held: again, request: request({}, keys, 40) })).toEqual({ tag: 'over', failed: [], reason: null });
  });

  it('one that failed, or that nobody has answered rightly, is over too', () => {
    const failed = { tag: 'over', failed: [key('1')], reason: 'why' };
    expect(step({ held: held([key('1')]), request: request({ state: 'failed' }, [key('1'), key('2')]) })).toEqual(failed);
    expect(step({ held: held([key('1')]), request: request({}, [key('1')]) })).toEqual(failed);
  });
});
