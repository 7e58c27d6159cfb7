import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { partitionOf } from '#core/hash.ts';

/*
 * What Kafka's own Java client says: each line of the file is a key with `BuiltInPartitioner.partitionForKey(utf8(key), n)` of
 * kafka-clients 4.1.0 for the numbers of partitions below, printed by a Java program of a few lines that calls nothing else.
 */
const counts = [1, 2, 3, 4, 7, 12, 64, 512];
const golden = readFileSync(new URL('./kafka-partitions.jsonl', import.meta.url), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as { readonly key: string; readonly partitions: readonly number[] });

test('a key goes to the partition that the Java client of Kafka gives it', () => {
  expect(golden.length).toBeGreaterThan(100);
  expect(golden.map(({ key }) => ({ key, partitions: counts.map((count) => partitionOf(key, count)) }))).toEqual(golden);
});
