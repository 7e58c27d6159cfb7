import { describe, expect, it } from 'vitest';
import { retryDelayMs } from '../../../connectors/sink-spanner/errors.ts';

const withTrailer = (bytes: readonly number[]): Error =>
  Object.assign(new Error('aborted'), {
    metadata: { get: (name: string) => (name === 'google.rpc.retryinfo-bin' ? [Buffer.from(bytes)] : []) },
  });

describe('the pause that the service asks for', () => {
  it('stands in a trailer: a duration of seconds and nanoseconds', () => {
    // 1 s and 500,000,000 ns.
    expect(retryDelayMs(withTrailer([0x0a, 0x08, 0x08, 0x01, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01]))).toBe(1_500);
    // 10,000,000 ns.
    expect(retryDelayMs(withTrailer([0x0a, 0x05, 0x10, 0x80, 0xad, 0xe2, 0x04]))).toBe(10);
    expect(retryDelayMs(withTrailer([0x0a, 0x02, 0x08, 0x03]))).toBe(3_000);
  });

  it('or in the details of the error', () => {
    expect(
      retryDelayMs(Object.assign(new Error('aborted'), { statusDetails: [{}, { retryDelay: { seconds: '2', nanos: 1_000_000 } }] })),
    ).toBe(2_001);
  });

  it('is none where nothing is asked for, or where it cannot be read', () => {
    for (const error of [
      new Error('aborted'),
      withTrailer([]),
      withTrailer([0x0a]),
      withTrailer([0x0a, 0x05, 0x10, 0x80]),
      withTrailer([0x12, 1, 0]),
    ]) {
      expect(retryDelayMs(error)).toBeNull();
    }
  });
});
