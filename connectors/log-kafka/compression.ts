import { promisify } from 'node:util';
import { zstdCompress, zstdDecompress } from 'node:zlib';
import kafkajs, { CompressionTypes } from 'kafkajs';
import type { Compression } from './config.ts';
import { lz4Compressed, lz4Decompressed } from './lz4-frame.ts';

const { CompressionCodecs } = kafkajs;

/** No batch of ours is near to this; what claims to be more is not decompressed. */
const DECOMPRESSED_BYTES_MAX = 256 * 1024 ** 2;

const compressZstd = promisify(zstdCompress);
const decompressZstd = promisify(zstdDecompress);

/** kafkajs has gzip built in, and asks a table of the whole process for the others. */
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: ({ buffer }: { readonly buffer: Buffer }) => compressZstd(buffer),
  decompress: (buffer: Buffer) => decompressZstd(buffer, { maxOutputLength: DECOMPRESSED_BYTES_MAX }),
});

CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: ({ buffer }: { readonly buffer: Buffer }) => Promise.resolve(lz4Compressed(buffer)),
  decompress: (buffer: Buffer) => Promise.resolve(lz4Decompressed(buffer, DECOMPRESSED_BYTES_MAX)),
});

export const compressionTypes: Readonly<Record<Compression, CompressionTypes>> = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
};
