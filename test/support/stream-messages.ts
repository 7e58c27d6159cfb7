// What tests of the replication stream read out of its messages.
import type { SourceChange, SourceMessage } from '#core/event.ts';
import type { RowKey } from '#core/key.ts';
import { type OpenStream, StreamFixture, type StreamFixtureOptions } from './postgres-stream.ts';
import { TestDatabase } from './postgres.ts';

export const key = (...parts: string[]): RowKey => JSON.stringify(parts) as RowKey;

export function changes(messages: readonly SourceMessage[]): SourceChange[] {
  return messages.filter((message) => message.tag === 'change');
}

/** What a change says, without where it stands. */
export function said(messages: readonly SourceMessage[]): unknown[] {
  return changes(messages).map(({ tag: _tag, schema: _schema, change: _change, ...rest }) => rest);
}

export function commitOf(messages: readonly SourceMessage[]): Extract<SourceMessage, { tag: 'commit' }> {
  const last = messages.at(-1);
  if (last?.tag !== 'commit') throw new Error('a transaction ends with its commit');
  return last;
}

export function beginOf(messages: readonly SourceMessage[]): Extract<SourceMessage, { tag: 'begin' }> {
  const first = messages[0];
  if (first?.tag !== 'begin') throw new Error('a transaction starts with its begin');
  return first;
}

export async function untilFailure(stream: OpenStream): Promise<never> {
  while (true) await stream.next();
}

/** Too random to be compressed, so it is stored out of line. */
export const largeText = `(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) i)`;

/** A stream over a database of its own. */
export async function streamFixture(
  major: Parameters<typeof TestDatabase.create>[0],
  tables: string,
  options: Partial<StreamFixtureOptions> = {},
): Promise<StreamFixture & AsyncDisposable> {
  const database = await TestDatabase.create(major);
  try {
    const made = await StreamFixture.create({ url: database.url, tables, ...options });
    const inner = made[Symbol.asyncDispose].bind(made);
    made[Symbol.asyncDispose] = async () => {
      await inner();
      await database.close();
    };
    return made;
  } catch (error) {
    await database.close();
    throw error;
  }
}
