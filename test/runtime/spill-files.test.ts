// Rows that wait on disk: in files that nobody else may read, and that are gone afterwards.
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { RowKey } from '#core/key.ts';
import type { SpilledRow } from '../../src/reconcile/spill.ts';
import { SpillFiles } from '../../src/runtime/spill-files.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'causeway-spill-'));
  vi.stubEnv('TMPDIR', folder);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

function linesOf(...ids: readonly string[]): readonly SpilledRow[] {
  return ids.map((id) => ({ key: JSON.stringify(['public.t', id]) as RowKey, digest: `d ${id.length}` }));
}

async function all(spill: SpillFiles, side: 'source' | 'sink'): Promise<readonly SpilledRow[]> {
  const found: SpilledRow[] = [];
  for (let bucket = 0; bucket < spill.buckets; bucket += 1) for await (const some of spill.read(side, bucket)) found.push(...some);
  return found;
}

test('each side gets back what it was given, whatever the keys hold', async () => {
  await using spill = new SpillFiles();
  const odd = linesOf('a\nb', 'a\r\nb', '\u2028', 'x\u2029y', '\ud800', '\udc00x', '\0', '"', '', '\u0085', '😀', ' ');
  await spill.append('source', odd);
  await spill.append('sink', linesOf('other'));
  expect(new Set(await all(spill, 'source'))).toEqual(new Set(odd));
  expect(await all(spill, 'sink')).toEqual(linesOf('other'));
});

test('one key falls into one bucket on either side, and what came first is read first', async () => {
  await using spill = new SpillFiles();
  const [line] = linesOf('one') as [SpilledRow];
  await spill.append('source', [line]);
  await spill.append('sink', [line, { ...line, digest: 'second' }]);
  await spill.append('sink', [{ ...line, digest: 'third' }]);
  const bucketOf = async (side: 'source' | 'sink'): Promise<readonly (readonly [number, readonly string[]])[]> => {
    const found: (readonly [number, readonly string[]])[] = [];
    for (let bucket = 0; bucket < spill.buckets; bucket += 1)
      for await (const some of spill.read(side, bucket)) if (some.length > 0) found.push([bucket, some.map(({ digest }) => digest)]);
    return found;
  };
  const [source] = await bucketOf('source');
  expect(await bucketOf('sink')).toEqual([[source?.[0], ['d 3', 'second', 'third']]]);
});

test('more than is buffered is written on the way, and read whole', async () => {
  await using spill = new SpillFiles();
  const many = linesOf(...Array.from({ length: 40_000 }, (_, at) => `${at} ${'x'.repeat(120)}`));
  await spill.append('source', many.slice(0, 39_000));
  expect(readdirSync(folder)).toHaveLength(1);
  await spill.append('source', many.slice(39_000));
  const found = await all(spill, 'source');
  expect(found).toHaveLength(many.length);
  expect(new Set(found.map(({ key }) => key))).toEqual(new Set(many.map(({ key }) => key)));
});

test('the files are for this user alone, and are removed', async () => {
  const spill = new SpillFiles();
  await spill.append('source', linesOf('a', 'b', 'c'));
  expect(readdirSync(folder)).toEqual([]);
  await all(spill, 'source');
  const [own = ''] = readdirSync(folder);
  const files = readdirSync(join(folder, own));
  expect(files.length).toBeGreaterThan(0);
  expect(statSync(join(folder, own)).mode & 0o777).toBe(0o700);
  expect(new Set(files.map((name) => statSync(join(folder, own, name)).mode & 0o777))).toEqual(new Set([0o600]));
  await spill[Symbol.asyncDispose]();
  expect(readdirSync(folder)).toEqual([]);
});

test('without rows there are no files', async () => {
  const spill = new SpillFiles();
  expect(await all(spill, 'sink')).toEqual([]);
  await spill[Symbol.asyncDispose]();
  expect(readdirSync(folder)).toEqual([]);
});
