import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { tableIdOf } from '#core/schema.ts';

import { versionTableName } from '../../../connectors/sink-postgres/names.ts';

describe('the name of a version table', () => {
  it('is the table with its schema, so that a person knows it', () => {
    expect(versionTableName(tableIdOf('public', 'orders'))).toBe('public.orders');
  });

  it('fits an identifier and is another one for every table', () => {
    const part = fc.string({ unit: 'binary', minLength: 1, maxLength: 63 }).filter((name) => !name.includes('.'));
    fc.assert(
      fc.property(fc.tuple(part, part), fc.tuple(part, part), ([schema, name], [otherSchema, otherName]) => {
        const one = tableIdOf(schema, name);
        const other = tableIdOf(otherSchema, otherName);
        expect(Buffer.byteLength(versionTableName(one))).toBeLessThanOrEqual(63);
        expect(versionTableName(one) === versionTableName(other)).toBe(one === other);
      }),
    );
  });

  it('of long names that differ only at their end differs, and no short name looks like one of them', () => {
    const long = `${'s'.repeat(63)}.${'t'.repeat(62)}`;
    const first = versionTableName(tableIdOf('s'.repeat(63), `${'t'.repeat(62)}a`));
    const second = versionTableName(tableIdOf('s'.repeat(63), `${'t'.repeat(62)}b`));
    expect(first).not.toBe(second);
    expect(first.length).toBeLessThan(long.length);
    const [schema = '', name = ''] = first.split('.');
    expect(versionTableName(tableIdOf(schema, name || 'x'))).not.toBe(first);
  });
});
