/*
 * The formats of records and control rows that this release knows: its own and the one of the release before. It reads all of them, and
 * writes the one that `log.format` names. So daemons of two releases share a pipeline, and the older release can come back, for as
 * long as the format is not raised (docs/upgrade.md). A new format takes a number here, a codec in src/codec/formats.ts, which also
 * reads the records of the one before, and golden bytes in test/golden.
 */

/** The oldest first. */
export const logFormats = [1] as const;

export type LogFormat = (typeof logFormats)[number];

/** The oldest: what every release reads that may still run beside this one, or come back. */
export const logFormatDefault: LogFormat = logFormats[0];

/** For errors: which release has to be run. */
export function foreignFormat(format: number): string {
  const known = logFormats.join(' and ');
  return `format ${format}, of ${format > Math.max(...logFormats) ? 'a newer' : 'an older'} release; this one reads ${known}`;
}
