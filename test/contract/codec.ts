import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Codec, SchemaCatalogue } from '#core/codec.ts';
import { codeOf } from '#core/errors.ts';
import type { TableSchema } from '#core/schema.ts';
import { anyChange, anyControl } from '../codec/arbitrary-records.ts';

const nothing: SchemaCatalogue = { get: () => undefined };
const only = (schema: TableSchema): SchemaCatalogue => ({ get: (version) => (version === schema.version ? schema : undefined) });

/** What every encoding of the log's records keeps. */
export function codecContract(name: string, codec: Codec): void {
  describe(`codec: ${name}`, () => {
    it('gives every change back as it was', () => {
      fc.assert(
        fc.property(anyChange, ({ record, schema }) => {
          expect(codec.decode(codec.encode(record, schema), only(schema))).toStrictEqual(record);
        }),
        { numRuns: 1_000 },
      );
    });

    it('gives every control record back as it was', () => {
      fc.assert(
        fc.property(anyControl, (record) => {
          expect(codec.decode(codec.encode(record, null), nothing)).toStrictEqual(record);
        }),
        { numRuns: 1_000 },
      );
    });

    it('encodes the same record to the same bytes', () => {
      fc.assert(
        fc.property(anyChange, ({ record, schema }) => {
          const copy = structuredClone(schema);
          expect(Buffer.compare(codec.encode(record, schema), codec.encode(structuredClone(record), copy))).toBe(0);
        }),
      );
    });

    it('reads bytes that stand inside a larger buffer', () => {
      fc.assert(
        fc.property(anyChange, fc.nat(9), ({ record, schema }, before) => {
          const bytes = codec.encode(record, schema);
          const around = new Uint8Array(bytes.length + before + 3).fill(0x22);
          around.set(bytes, before);
          expect(codec.decode(around.subarray(before, before + bytes.length), only(schema))).toStrictEqual(record);
        }),
      );
    });

    it('refuses a change whose schema version it has not met', () => {
      fc.assert(
        fc.property(anyChange, ({ record, schema }) => {
          expect(codeThrown(() => codec.decode(codec.encode(record, schema), nothing))).toBe('log_schema_unknown');
        }),
      );
    });

    it('refuses bytes that are cut off or not a record, with a code', () => {
      fc.assert(
        fc.property(anyChange, fc.nat(), ({ record, schema }, cut) => {
          const bytes = codec.encode(record, schema);
          expect(codeThrown(() => codec.decode(bytes.subarray(0, cut % bytes.length), only(schema)))).toBe('log_record_invalid');
        }),
      );
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
          expect(codeThrown(() => codec.decode(bytes, nothing))).toBe('log_record_invalid');
        }),
      );
    });
  });
}

function codeThrown(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return codeOf(error);
  }
  return 'nothing was thrown';
}
