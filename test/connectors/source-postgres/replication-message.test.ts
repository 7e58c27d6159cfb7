import { expect, test } from 'vitest';
import { asksForReply, isKeepalive, messageLsn, XLOG_DATA_HEAD_BYTES } from '../../../connectors/source-postgres/replication-message.ts';

const head = (kind: string, lsn: bigint): Buffer => {
  const bytes = Buffer.alloc(9);
  bytes.write(kind, 'latin1');
  bytes.writeBigUInt64BE(lsn, 1);
  return bytes;
};

test('a message of the log tells its LSN, with all 64 bits, and then its frame', () => {
  const message = Buffer.concat([head('w', 0xffff_ffff_ffff_fff0n), Buffer.alloc(16), Buffer.from('frame')]);
  expect(messageLsn(message)).toBe(0xffff_ffff_ffff_fff0n);
  expect(isKeepalive(message)).toBe(false);
  expect(message.subarray(XLOG_DATA_HEAD_BYTES).toString()).toBe('frame');
});

test('a keepalive tells how far the server has read, and whether it wants an answer', () => {
  for (const [reply, asks] of [
    [0, false],
    [1, true],
  ] as const) {
    const message = Buffer.concat([head('k', 0x1b374d848n), Buffer.alloc(8), Buffer.of(reply)]);
    expect(messageLsn(message)).toBe(0x1b374d848n);
    expect(isKeepalive(message)).toBe(true);
    expect(asksForReply(message)).toBe(asks);
  }
});

test('what is neither, or too short, is no message', () => {
  const whole = { w: Buffer.concat([head('w', 1n), Buffer.alloc(16)]), k: Buffer.concat([head('k', 1n), Buffer.alloc(9)]) };
  for (const message of [whole.w, whole.k]) {
    expect(messageLsn(message)).toBe(1n);
    for (let length = 0; length < message.length; length += 1) expect(messageLsn(message.subarray(0, length))).toBeNull();
  }
  expect(messageLsn(Buffer.concat([head('x', 1n), Buffer.alloc(30)]))).toBeNull();
});
