import type { Codec } from '#core/codec.ts';
import type { LogFormat } from '#core/log-format.ts';
import { jsonCodec } from './json.ts';

const codecs: Readonly<Record<LogFormat, Codec>> = { 1: jsonCodec };

/** Writes that format, and reads every one that this release knows. */
export function codecOf(format: LogFormat): Codec {
  return codecs[format];
}
