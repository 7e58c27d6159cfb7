/**
 * Bind ("PostgreSQL documentation, 54.7 Message Formats"), of the unnamed portal, with all parameters and results in the text form:
 *
 *     'B' | length i32, of all but the tag | portal '\0' | statement '…\0' | formats i16 = 0 | parameters i16 |
 *     for each: bytes i32 or -1 for null, bytes | result formats i16 = 0
 *
 * The driver's own takes texts, and sends what is given as bytes in the binary form.
 */
export function bindMessage(statement: string, parameters: readonly (string | Buffer | null)[]): Buffer {
  const nameBytes = Buffer.byteLength(statement);
  let size = 1 + 4 + 1 + nameBytes + 1 + 2 + 2 + 2;
  for (const parameter of parameters) size += 4 + bytesOf(parameter);
  const message = Buffer.allocUnsafe(size);
  message[0] = 0x42;
  let at = message.writeInt32BE(size - 1, 1);
  at = message.writeUInt8(0, at);
  at += message.write(statement, at, 'utf8');
  at = message.writeUInt8(0, at);
  at = message.writeInt16BE(0, at);
  at = message.writeInt16BE(parameters.length, at);
  for (const parameter of parameters) {
    at = message.writeInt32BE(parameter === null ? -1 : bytesOf(parameter), at);
    if (typeof parameter === 'string') at += message.write(parameter, at, 'utf8');
    else if (parameter !== null) at += parameter.copy(message, at);
  }
  message.writeInt16BE(0, at);
  return message;
}

function bytesOf(parameter: string | Buffer | null): number {
  if (parameter === null) return 0;
  return typeof parameter === 'string' ? Buffer.byteLength(parameter) : parameter.length;
}
