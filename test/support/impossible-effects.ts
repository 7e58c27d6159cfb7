// What no register can have had, whatever the store.

export type RegisterEffect = {
  readonly key: string;
  /** In hex; null where the register has none, or is gone. */
  readonly sequence: string | null;
};

/** `key sequence` of effects, those of one key in the order in which they happened: a second one of a sequence, a lower one, and a register that is gone. */
export function impossibleEffects(effects: readonly RegisterEffect[]): {
  readonly repeated: readonly string[];
  readonly falling: readonly string[];
  readonly gone: readonly string[];
} {
  const found = { repeated: [] as string[], falling: [] as string[], gone: [] as string[] };
  const newest = new Map<string, string>();
  for (const { key, sequence } of effects) {
    const before = newest.get(key);
    if (sequence === null) found.gone.push(key);
    else if (sequence === before) found.repeated.push(`${key} ${sequence}`);
    else if (before !== undefined && sequence < before) found.falling.push(`${key} ${before} > ${sequence}`);
    if (sequence !== null) newest.set(key, sequence);
  }
  return found;
}
