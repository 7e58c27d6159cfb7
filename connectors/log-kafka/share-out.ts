export type Member = { readonly id: string; /** What it has now, as it says itself. */ readonly owned: readonly number[] };

/**
 * Shares partitions out evenly, so that each member keeps what it has where that is fair: a partition that changes hands is started
 * anew by its next worker. Every partition goes to exactly one member; members differ by one partition at most.
 */
export function shareOut(members: readonly Member[], partitions: number): ReadonlyMap<string, readonly number[]> {
  const sorted = [...members].sort((a, b) => (a.id < b.id ? -1 : 1));
  const least = Math.floor(partitions / sorted.length);
  let withOneMore = partitions % sorted.length;
  const free = new Set(Array.from({ length: partitions }, (_none, partition) => partition));
  const given = new Map<string, number[]>(sorted.map(({ id }) => [id, []]));
  // Whoever has the most may keep one more.
  for (const { id, owned } of sorted.toSorted((a, b) => b.owned.length - a.owned.length)) {
    const mine = [...new Set(owned)].filter((partition) => free.has(partition));
    const kept = mine.slice(0, least + (withOneMore > 0 && mine.length > least ? 1 : 0));
    if (kept.length > least) withOneMore -= 1;
    for (const partition of kept) free.delete(partition);
    given.set(id, kept);
  }
  for (const partition of free) {
    const [poorest] = [...given.values()].sort((a, b) => a.length - b.length);
    poorest?.push(partition);
  }
  return new Map([...given].map(([id, own]) => [id, own.sort((a, b) => a - b)]));
}
