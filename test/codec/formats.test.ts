import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { logFormatDefault, logFormats } from '#core/log-format.ts';
import { codecOf } from '../../src/codec/formats.ts';

/** The records of a format as they stand in logs. */
function goldenOf(format: number): readonly string[] {
  return readFileSync(new URL(`../golden/log-records.v${format}.jsonl`, import.meta.url), 'utf8')
    .trimEnd()
    .split('\n');
}

describe('the formats that this release knows', () => {
  test('are two at most, in order, and it writes the older unless told otherwise', () => {
    expect(logFormats.length).toBeLessThanOrEqual(2);
    expect([...logFormats].sort((a, b) => a - b)).toEqual(logFormats);
    expect(logFormatDefault).toBe(logFormats[0]);
  });

  test.each(logFormats)('have golden bytes, which the codec of each reads: %d', (format) => {
    const [opening = ''] = goldenOf(format);
    for (const writes of logFormats) {
      expect(codecOf(writes).decode(Buffer.from(opening, 'utf8'), { get: () => undefined })).toMatchObject({ tag: 'generation-open' });
    }
  });
});
