import { createRequire } from 'node:module';

const load = createRequire(import.meta.url);
type Encoded = { readonly buffer: Buffer };
const { RecordBatch } = load('kafkajs/src/protocol/recordBatch/v0/index.js') as {
  readonly RecordBatch: (input: object) => Promise<Encoded>;
};
const encodeRecord = load('kafkajs/src/protocol/recordBatch/record/v0/index.js') as (input: object) => Encoded;

/** A batch from `offset` on, as kafkajs encodes it for a broker, which only sets the offset. A text is the value, and behind `keyPrefix` the key. */
export async function batchAt(
  offset: number,
  texts: readonly (string | null)[],
  {
    keyPrefix = 'k',
    headers = { h: 'v' },
    ...over
  }: { readonly keyPrefix?: string; readonly headers?: Readonly<Record<string, string>>; readonly [name: string]: unknown } = {},
): Promise<Buffer> {
  const bytesOf = (text: string | null): Buffer | null => (text === null ? null : Buffer.from(text));
  const records = texts.map((text, offsetDelta) =>
    encodeRecord({
      offsetDelta,
      timestampDelta: 70_000 * offsetDelta,
      key: bytesOf(text === null ? null : `${keyPrefix}${text}`),
      value: bytesOf(text),
      headers,
    }),
  );
  const batch = await RecordBatch({ records, lastOffsetDelta: texts.length - 1, ...over });
  const bytes = Buffer.from(batch.buffer);
  bytes.writeBigInt64BE(BigInt(offset), 0);
  return bytes;
}
