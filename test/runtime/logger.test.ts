import { expect, test } from 'vitest';
import { CausewayError } from '#core/errors.ts';
import type { WallMs } from '#core/position.ts';
import { createLogger, errorFields, type LogFormat } from '../../src/runtime/logger.ts';

function lines(format: LogFormat): { readonly logger: ReturnType<typeof createLogger>; readonly written: string[] } {
  const written: string[] = [];
  const runtime = { wallMs: () => Date.UTC(2026, 0, 2, 3, 4, 5, 6) as WallMs };
  return { logger: createLogger({ runtime, level: 'info', format, write: (line) => written.push(line) }), written };
}

test('one JSON object a line, with the fields of the logger and of the line', () => {
  const { logger, written } = lines('json');
  logger.with({ pipeline: 'orders' }).log('warn', 'a table\nwas left out', { table: 'public.a', level: 'forged' });
  expect(written).toHaveLength(1);
  expect(written[0]?.endsWith('\n')).toBe(true);
  expect(JSON.parse(written[0] ?? '')).toEqual({
    time: '2026-01-02T03:04:05.006Z',
    level: 'warn',
    message: 'a table\nwas left out',
    pipeline: 'orders',
    table: 'public.a',
  });
});

test('text for a terminal, one line whatever the message holds', () => {
  const { logger, written } = lines('text');
  logger.log('info', 'a\n  b', { pipeline: 'x', reason: 'two words', none: undefined });
  expect(written).toEqual(['03:04:05.006 info  a b pipeline=x reason="two words"\n']);
});

test('what is below the level is not written', () => {
  const { logger, written } = lines('json');
  logger.log('debug', 'detail');
  expect(written).toEqual([]);
});

test("an error's fields hold its code and mend, and of a driver's error only its class and code", () => {
  const cause = Object.assign(new Error('Key (email)=(ada@example.org) already exists'), { code: '23505' });
  const fields = errorFields(new CausewayError('sink_misconfigured', 'a constraint is in the way', { cause }));
  expect(fields).toMatchObject({ code: 'sink_misconfigured', error: 'a constraint is in the way', cause: 'Error 23505' });
  expect(JSON.stringify(fields)).not.toContain('ada@example.org');
});

test('an error without a code shows its place, and its text only where it cannot hold a value', () => {
  const driver = errorFields(Object.assign(new Error('invalid input syntax: "ada"'), { code: '22P02' }));
  expect(driver).toMatchObject({ code: 'internal', error: 'Error 22P02' });
  expect(JSON.stringify(driver)).not.toContain('ada');
  expect(driver['stack']).toContain('logger.test.ts');
  expect(errorFields(new TypeError('x is not a function'))).toMatchObject({ error: 'x is not a function' });
});
