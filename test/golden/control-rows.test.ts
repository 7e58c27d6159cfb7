import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { rowsOfAPipeline } from '../support/control-rows-of-a-pipeline.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';

/*
 * Rows of the control store in format 1, one of each kind a line. Daemons of two releases write them in turn, so a member keeps its name
 * and its type. One that is added is absent in the rows of earlier releases, and both know what that means; anything else takes a new
 * format. What stands in a row (times, positions, random names) is that of the run that made it, and the status's document, which is
 * for people, is left out.
 */
type Line = { readonly key: string; readonly value: unknown };

const golden = readFileSync(new URL('./control-rows.v1.jsonl', import.meta.url), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Line);

/** The names of members with the types of their values; of an array, the shapes that stand in it. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return [...new Map(value.map(shapeOf).map((shape) => [JSON.stringify(shape), shape])).values()];
  if (typeof value !== 'object' || value === null) return value === null ? 'null' : typeof value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, name === 'document' ? {} : shapeOf(member)]));
}

test('the rows that this release writes have the members of format 1', async () => {
  const rows = await rowsOfAPipeline(new MemoryControlStore());
  expect(rows.map(({ key, value }) => ({ key, value: shapeOf(value) }))).toEqual(
    golden.map(({ key, value }) => ({ key, value: shapeOf(value) })),
  );
});
