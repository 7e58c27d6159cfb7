// A short share of `npm run fuzz`: the corpus, and some inputs of each target that a fixed seed makes.
import { afterAll, describe, expect, test } from 'vitest';
import { Chance } from './chance.ts';
import { readCorpus } from './corpus.ts';
import { judged } from './judge.ts';
import { CausewayError } from '#core/errors.ts';
import { openTargets } from './targets.ts';
import { MARKER, type Reaction, type Target } from './target.ts';

const inputs = 10_000;
const targets = await openTargets();
const weights = targets.reduce((sum, { weight }) => sum + weight, 0);

afterAll(async () => {
  for (const target of targets) await target[Symbol.asyncDispose]();
});

describe.each(targets.map((target) => [target.name, target] as const))('%s', (_name, target) => {
  test('the corpus', async () => {
    for (const { name, input } of readCorpus(target)) expect(await judged(target, input), name).toBeNull();
  });

  test('damaged input is taken, or refused with a code and without a value', async () => {
    for (let number = 0; number < (inputs * target.weight) / weights; number += 1) {
      expect(await judged(target, target.make(new Chance(1_000_003 + number)))).toBeNull();
    }
  });
});

describe('the judge', () => {
  const target = (react: () => Reaction): Target => ({
    name: 'x',
    weight: 1,
    form: 'txt',
    make: () => Buffer.alloc(0),
    react,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
  const thrown = (error: unknown): Target => target(() => ({ thrown: error }));

  test.each([
    ['an error without a code', thrown(new TypeError('x'))],
    ['a defect', thrown(new CausewayError('internal', 'x'))],
    ['a value in an error', thrown(new CausewayError('log_record_invalid', `it is ${MARKER}`))],
    ['a value in the cause of an error', thrown(new CausewayError('log_record_invalid', 'x', { cause: new Error(MARKER) }))],
    ['a value in an answer', target(() => ({ said: ['a', `b ${MARKER}`] }))],
    [
      'what the target itself finds',
      target(() => {
        throw new Error('other bytes');
      }),
    ],
  ])('finds %s', async (_what, each) => {
    expect(await judged(each, Buffer.alloc(0))).not.toBeNull();
  });

  test('takes a clean end and a coded error', async () => {
    expect(await judged(thrown(undefined), Buffer.alloc(0))).toBeNull();
    expect(await judged(thrown(new CausewayError('log_record_invalid', 'it is not JSON')), Buffer.alloc(0))).toBeNull();
  });
});
