import type { RowKey } from '#core/key.ts';
import type { RowReader } from '#core/row-reader.ts';
import type { TableId } from '#core/schema.ts';
import { isSameRow } from './same.ts';
import type { TablePassInput } from './table-pass.ts';

/**
 * Looks a share of the source's rows up at the sink, whole chunks of them, drawn at random. Rows that the sink alone has are not looked for.
 * Returns the rows that were looked up.
 */
export async function compareSample(
  input: TablePassInput,
  of: { readonly table: TableId; readonly share: number },
  signal: AbortSignal,
): Promise<number> {
  const { deps } = input;
  const { options, runtime } = deps;
  await using rows = deps.source.rows();
  let after: RowKey | null = null;
  let compared = 0;
  while (true) {
    const range = { tag: 'between', after, upTo: null } as const;
    const wanted = { table: of.table, range, rowsMax: options.closeLookKeys, bytesMax: options.chunkBytesMax, accepts: () => true };
    const page: Awaited<ReturnType<RowReader['read']>> = await rows.read(wanted, signal);
    if (page === null) return compared;
    if (runtime.random() < of.share) {
      await input.pace.took(page.rows.length, signal);
      compared += page.rows.length;
      await lookUp(input, page, signal);
    }
    if (page.isWhole) return compared;
    after = page.rows.at(-1)?.key ?? after;
  }
}

/** Keys that are not the same at the sink are looked at closely. */
export async function lookUp(
  input: TablePassInput,
  page: NonNullable<Awaited<ReturnType<RowReader['read']>>>,
  signal: AbortSignal,
): Promise<void> {
  const { sink } = input.deps;
  const { schema } = page;
  const domain = sink.readBack(schema);
  const keys = page.rows.map(({ key }) => key);
  const stored = new Map((await sink.read(schema, keys, signal)).map((row) => [row.key, row.row]));
  const suspects = page.rows.filter(({ key, row }) => {
    const expected = row === null ? null : domain(row);
    const found = stored.get(key) ?? null;
    return expected === null || found === null || !isSameRow(schema, expected, found);
  });
  if (suspects.length > 0) {
    await input.look(
      suspects.map(({ key }) => key),
      signal,
    );
  }
}
