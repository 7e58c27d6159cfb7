/** The parts of a frame, put together for tests: what the server sends, byte for byte. */
export type FramePart = Buffer;

export function tag(letter: string): FramePart {
  return Buffer.from(letter, 'latin1');
}

export function uint8(value: number): FramePart {
  return Buffer.of(value);
}

export function uint16(value: number): FramePart {
  const part = Buffer.allocUnsafe(2);
  part.writeUInt16BE(value);
  return part;
}

export function uint32(value: number): FramePart {
  const part = Buffer.allocUnsafe(4);
  part.writeUInt32BE(value);
  return part;
}

export function int32(value: number): FramePart {
  const part = Buffer.allocUnsafe(4);
  part.writeInt32BE(value);
  return part;
}

export function uint64(value: bigint): FramePart {
  const part = Buffer.allocUnsafe(8);
  part.writeBigUInt64BE(value);
  return part;
}

export function int64(value: bigint): FramePart {
  const part = Buffer.allocUnsafe(8);
  part.writeBigInt64BE(value);
  return part;
}

export function cString(text: string): FramePart {
  return Buffer.from(`${text}\0`, 'utf8');
}

export function frameOf(...parts: readonly FramePart[]): Buffer {
  return Buffer.concat(parts);
}
