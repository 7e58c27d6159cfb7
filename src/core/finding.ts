/**
 * One line of `causeway check`. A finding tells of a problem at the system that was looked at; a check that could not run
 * throws instead. `mend` is text to paste: SQL or a command.
 */
export type Finding = {
  /** Stable, such as `PG-008`. */
  readonly id: string;
  readonly level: 'ok' | 'warning' | 'error' | 'skipped';
  /** What was checked, as a short sentence. */
  readonly title: string;
  readonly details: readonly string[];
  readonly mend: readonly string[];
};
