// What happened to the rows of tables in Spanner, each effect in order, from a change stream of the database: nothing of the product takes
// part. Records, partitions and how messages of a result are put together: "Change streams partitions, records, and queries"
// (cloud.google.com/spanner/docs/change-streams/details) and google.spanner.v1.PartialResultSet.
import type { protos } from '@google-cloud/spanner';
import type { SpannerClient } from '@google-cloud/spanner/build/src/v1/index.js';
import type { RegisterEffect } from './impossible-effects.ts';

type Value = null | boolean | number | string | readonly Value[];
type Cells = readonly Value[];

export type SpannerEffect = RegisterEffect & { readonly table: string };
/** Of one database. */
export type SpannerAsked = { readonly client: SpannerClient; readonly database: string };

const stream = 'audit';
const heartbeatMs = 300_000;
const callOptions = { timeout: 120_000, retry: { retryCodes: [] } };

export function streamStatement(tables: readonly string[]): string {
  // Later effects are not told apart from earlier ones by their old values.
  return `CREATE CHANGE STREAM ${stream} FOR ${tables.join(', ')} OPTIONS (value_capture_type = 'NEW_ROW', retention_period = '7d')`;
}

/** On the clock of the store. */
export async function storeTime(asked: SpannerAsked): Promise<string> {
  const [[now]] = (await cellsOf(asked, 'SELECT CURRENT_TIMESTAMP()')) as [[string]];
  return now;
}

/** All since that moment, in the order in which they were committed. */
export async function effectsSince(asked: SpannerAsked, since: string): Promise<readonly SpannerEffect[]> {
  const until = await storeTime(asked);
  const records: Cells[] = [];
  const partitions: { readonly token: string | null; readonly from: string }[] = [{ token: null, from: since }];
  const known = new Set<Value>();
  for (const { token, from } of partitions) {
    const read = `READ_${stream}(TIMESTAMP '${from}', TIMESTAMP '${until}', ${token === null ? 'NULL' : `'${token}'`}, ${heartbeatMs})`;
    for (const [changes] of (await cellsOf(asked, `SELECT ChangeRecord FROM ${read}`)) as [[[Cells[], Cells[], Cells[]]]][]) {
      for (const [data, , children] of changes as unknown as readonly [readonly Cells[], readonly Cells[], readonly Cells[]][]) {
        records.push(...data);
        for (const [start, , opened] of children as readonly [string, string, readonly [string, Cells][]][]) {
          for (const [child] of opened.filter(([child]) => !known.has(child))) {
            known.add(child);
            partitions.push({ token: child, from: start });
          }
        }
      }
    }
  }
  return records.toSorted((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1)).flatMap(effectsIn);
}

/** By the commit, then by the place in its transaction. */
function orderOf([committed, place]: Cells): string {
  const [seconds = '', fraction = ''] = String(committed).replace('Z', '').split('.');
  return `${seconds}.${fraction.padEnd(9, '0')} ${String(place)}`;
}

function effectsIn(record: Cells): readonly SpannerEffect[] {
  const mods = record[6] as readonly [string, string][];
  return mods.map(([keys, values]) => {
    const { cw_seq: sequence } = JSON.parse(values) as { readonly cw_seq?: string };
    return { table: String(record[4]), key: keyText(JSON.parse(keys) as Record<string, string>), sequence: hexOf(sequence) };
  });
}

export function keyText(columns: Readonly<Record<string, unknown>>): string {
  return JSON.stringify(Object.fromEntries(Object.entries(columns).sort(([a], [b]) => (a < b ? -1 : 1))));
}

/** Of BYTES as JSON has them; null for what is absent. */
export function hexOf(bytes: string | null | undefined): string | null {
  return bytes === null || bytes === undefined ? null : Buffer.from(bytes, 'base64').toString('hex');
}

/** Every row of the table, as it stands: 64-bit numbers and bytes as JSON has them, that is as texts. */
export async function rowsIn(asked: SpannerAsked, table: string): Promise<readonly Readonly<Record<string, Value>>[]> {
  const columns = await cellsOf(
    asked,
    `SELECT column_name FROM information_schema.columns WHERE table_schema = '' AND table_name = '${table}' ORDER BY ordinal_position`,
  );
  const names = columns.map(([name]) => String(name));
  const rows = await cellsOf(asked, `SELECT ${names.join(', ')} FROM ${table}`);
  return rows.map((row) => Object.fromEntries(names.map((name, at) => [name, row[at] ?? null])));
}

/** Rows of a query, as strong as can be. */
async function cellsOf({ client, database }: SpannerAsked, sql: string): Promise<readonly Cells[]> {
  const [session] = await client.createSession({ database }, callOptions);
  const values: Value[] = [];
  let width = 0;
  try {
    const messages = client.executeStreamingSql(
      { session: session.name ?? '', transaction: { singleUse: { readOnly: { strong: true } } }, sql },
      callOptions,
    );
    let isChunked = false;
    messages.on('data', ({ metadata, values: more, chunkedValue }: protos.google.spanner.v1.IPartialResultSet) => {
      width ||= metadata?.rowType?.fields?.length ?? 0;
      for (const [at, value] of (more ?? []).map(plain).entries()) {
        const last = at === 0 && isChunked ? values.pop() : undefined;
        values.push(last === undefined ? value : joined(last, value));
      }
      if ((more ?? []).length > 0) isChunked = chunkedValue === true;
    });
    await new Promise((resolve, reject) => messages.once('end', resolve).once('error', reject));
  } finally {
    await client.deleteSession({ name: session.name ?? '' }, callOptions);
  }
  return Array.from({ length: values.length / Math.max(width, 1) }, (_, row) => values.slice(row * width, (row + 1) * width));
}

export function plain(value: protos.google.protobuf.IValue): Value {
  if (value.listValue) return (value.listValue.values ?? []).map(plain);
  return value.stringValue ?? value.boolValue ?? value.numberValue ?? null;
}

/** A value that goes on in the next message: texts and lists are put together, and so are the parts of lists that meet. */
function joined(head: Value, tail: Value): Value {
  if (typeof head === 'string' && typeof tail === 'string') return head + tail;
  if (!Array.isArray(head) || !Array.isArray(tail)) throw new Error('a value that cannot go on does');
  const [a, b] = [head as Cells, tail as Cells];
  const [last, first] = [a.at(-1), b[0]];
  if (last === undefined || first === undefined) return [...a, ...b];
  const meet = (typeof last === 'string' && typeof first === 'string') || (Array.isArray(last) && Array.isArray(first));
  return meet ? [...a.slice(0, -1), joined(last, first), ...b.slice(1)] : [...a, ...b];
}
