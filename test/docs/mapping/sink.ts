import type { TypeCase } from '../../support/canonical-values.ts';

/** What becomes of one value: `stored` names what holds it, as the page shows it. */
export type Kept = { readonly stored: string } | { readonly refused: string };

export type Setting = {
  /** As the page shows it, such as `json: native`; null for the defaults. */
  readonly label: string | null;
  readonly keep: (type: TypeCase, text: string) => Kept;
};

/**
 * What docs/types.md tells of one kind of sink. All of it is asked of the functions that the sink writes rows and makes tables with, so
 * that the page cannot say anything else than what is done.
 */
export type SinkMapping = {
  /** As the registry names it. */
  readonly kind: string;
  readonly title: string;
  readonly intro: string;
  /** The defaults first; of another one only those types are shown that it changes. */
  readonly settings: readonly Setting[];
  /** What a column of the type is made as, where that is not what `keep` tells of its values; null where it is. */
  readonly made: ((type: TypeCase) => Promise<string>) | null;
  /** What holds the type where it is the whole key of a table. */
  readonly key: (type: TypeCase) => string;
  /** Refusals that are not of one type: what is refused, and the sink's words. */
  readonly refusals: () => Promise<readonly (readonly [what: string, words: string])[]>;
};
