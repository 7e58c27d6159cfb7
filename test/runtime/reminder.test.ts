import { expect, test } from 'vitest';
import { Reminder } from '../../src/runtime/reminder.ts';
import { VirtualClock } from '../support/test-runtime.ts';

test('what goes on is said at first, when it changes, and then every five minutes', async () => {
  const clock = new VirtualClock();
  const reminder = new Reminder(clock.runtime);
  const said: number[] = [];
  for (let second = 0; second <= 700; second += 5) {
    if (reminder.isDue('login', second < 50 ? 'down' : 'refused')) said.push(second);
    await clock.advance(5_000);
  }
  expect(said).toEqual([0, 50, 350, 650]);
});

test('subjects do not know of each other, and what was over for a minute is news', async () => {
  const clock = new Reminded();
  expect([clock.is('a'), clock.is('b'), clock.is('a')]).toEqual([true, true, false]);
  await clock.advance(60_000);
  expect(clock.is('a')).toBe(false);
  await clock.advance(60_001);
  expect(clock.is('a')).toBe(true);
});

class Reminded {
  readonly #clock = new VirtualClock();
  readonly #reminder = new Reminder(this.#clock.runtime);

  is(subject: string): boolean {
    return this.#reminder.isDue(subject, 'down');
  }

  advance(ms: number): Promise<void> {
    return this.#clock.advance(ms);
  }
}
