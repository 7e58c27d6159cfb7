// The rows of the cases that drive a sink by its port alone.
import { rowKeyOf } from '#core/key.ts';
import { epochOf } from '#core/position.ts';
import type { Column, SchemaVersion, TableId, TableSchema } from '#core/schema.ts';
import { encodeSequence } from '#core/sequence.ts';
import type { RowChange, Sink } from '#core/sink.ts';
import type { CanonicalType } from '#core/value.ts';

export const never = new AbortController().signal;

export type Values = readonly [id: string, account: string, status: string, amount: string, changedAt: string, payload: string];

/** About 200 bytes. */
export function valuesOf(id: number): Values {
  const amount = `${id % 10_000}.${10 + (id % 90)}`;
  return [String(id), String(id % 100_000), 'open', amount, '2026-01-01T00:00:00Z', 'x'.repeat(128) + String(id)];
}

function column(name: string, type: CanonicalType, sourceType: string): Column {
  return { name, type, sourceType, nullable: false, constantDefault: null };
}

export const schema: TableSchema = {
  table: 'bench.item' as TableId,
  version: 'bench' as SchemaVersion,
  columns: [
    column('id', { tag: 'int', bits: 64, unsigned: false }, 'bigint'),
    column('account', { tag: 'int', bits: 32, unsigned: false }, 'integer'),
    column('status', { tag: 'text' }, 'text'),
    column('amount', { tag: 'decimal', precision: 12, scale: 2 }, 'numeric(12,2)'),
    column('changed_at', { tag: 'timestamptz' }, 'timestamp with time zone'),
    column('payload', { tag: 'text' }, 'text'),
  ],
  key: [0],
};

export const sequence = encodeSequence({ epoch: epochOf(1), commit: 2n, change: 1n, sub: 1 });

export function changeOf(values: Values): RowChange {
  const key = rowKeyOf(schema, values);
  if (key === null) throw new Error('a row without a key');
  return { tag: 'upsert', schema, key, sequence, row: values };
}

/** All rows by so many partitions side by side, in batches as a worker hands them to the sink. */
export async function applyAll(
  sink: Sink,
  changes: readonly RowChange[],
  { partitions, batchRows }: { readonly partitions: number; readonly batchRows: number },
): Promise<number> {
  let from = 0;
  await Promise.all(
    Array.from({ length: partitions }, async (_, at) => {
      await using partition = await sink.assign(at, never);
      while (from < changes.length) {
        const rows = changes.slice(from, (from += batchRows));
        const outcomes = await partition.apply({ rows, progress: null }, never);
        if (outcomes.some(({ tag }) => tag !== 'applied')) throw new Error('a row was not applied');
      }
    }),
  );
  return changes.length;
}
