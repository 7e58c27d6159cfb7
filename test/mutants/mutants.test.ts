// Whether the list of mutants still fits the product. Trying them is `npm run mutants`.
import { existsSync, readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { mutants } from './list.ts';
import { mutate } from './mutant.ts';

const root = join(import.meta.dirname, '../..');

test.each(mutants)('$name: its text stands once in $file', (mutant) => {
  const text = readFileSync(join(root, mutant.file), 'utf8');
  const mutated = mutate(mutant, text);
  expect(mutated).not.toBe(text);
  // One that is no program would be caught by every test.
  expect(() => stripTypeScriptTypes(mutated)).not.toThrow();
});

test('every name is another one, and every suite is there', () => {
  expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
  for (const { suite } of mutants) for (const file of suite.files) expect(existsSync(join(root, file)), file).toBe(true);
});

test('a text that is not there, or twice, is an error', () => {
  const mutant = { name: 'x', file: 'f', find: 'a', put: 'b', breaks: '', suite: { project: 'unit', files: [] } } as const;
  expect(() => mutate(mutant, 'xyz')).toThrow('0 times');
  expect(() => mutate(mutant, 'a a')).toThrow('2 times');
  expect(mutate({ ...mutant, also: [{ find: 'y', put: 'z' }] }, 'x a y')).toBe('x b z');
});
