import { promisify } from 'node:util';
import { brotliCompress, brotliDecompress, constants } from 'node:zlib';

/** Small rows stay readable where people look at them. */
const PLAIN_BYTES_MAX = 64 * 1024;
/** Above any row: 200 schema versions of 1,600 columns. */
const TEXT_BYTES_MAX = 256 * 1024 * 1024;

const compress = promisify(brotliCompress);
const decompress = promisify(brotliDecompress);

/**
 * A row's text made small, null where it may stay as it is. The schema versions of a table repeat each other over distances that
 * only Brotli's large window sees.
 */
export async function pack(text: string): Promise<Buffer | null> {
  if (Buffer.byteLength(text) <= PLAIN_BYTES_MAX) return null;
  return await compress(text, { params: { [constants.BROTLI_PARAM_QUALITY]: 5, [constants.BROTLI_PARAM_LGWIN]: 24 } });
}

/** Throws where the bytes are not what `pack` made. */
export async function unpack(bytes: Uint8Array): Promise<string> {
  return (await decompress(bytes, { maxOutputLength: TEXT_BYTES_MAX })).toString('utf8');
}
