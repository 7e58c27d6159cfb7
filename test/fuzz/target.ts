import type { Chance } from './chance.ts';

/**
 * Stands in the values of what is made here. Nothing that the product says may hold it; its beginning counts too, as a text can be cut.
 */
export const MARKER = 'zq7Xw9-marker';
const MARKER_BEGINNING = 'zq7Xw9';

/** What the product made of an input. */
export type Reaction = {
  /** What it threw; undefined where it took the input. */
  readonly thrown?: unknown;
  /** Whatever else it said: answers, log lines, mistakes. */
  readonly said?: readonly string[];
};

export interface Target extends AsyncDisposable {
  readonly name: string;
  /** Of all inputs of a run, how many parts are for this target. */
  readonly weight: number;
  /** How its inputs stand in the corpus. */
  readonly form: 'hex' | 'txt';
  make(chance: Chance): Buffer;
  /** Throws for what is wrong whatever was said: a value that came back as another one, for instance. */
  react(input: Buffer): Reaction | Promise<Reaction>;
}

export function tellsMarker(text: string): boolean {
  return text.includes(MARKER_BEGINNING);
}
