// One round of the gauntlet: bursts of faults while writers write, and what they led to.
import type { Verdict } from '../support/accounting.ts';
import type { GauntletGround } from '../support/gauntlet-ground.ts';
import { counted, type Counts, type Round, type Told } from '../support/rounds.ts';
import { drawBurst, inflict, nameOf, type Fault } from './faults.ts';

export type GauntletRound = Round & {
  /** Milliseconds from the end of each fault until the sink's watermark had passed that moment, by fault. */
  readonly recoveries: Readonly<Record<string, readonly number[]>>;
  /** Codes with which daemons ended by themselves and were started again. */
  readonly ends: Counts;
  readonly verdict: Verdict & { readonly defects: readonly string[] };
};

/** What may end a process, because recovery inside it cannot be proved. Any other end is a defect. */
const endsOfDesign: readonly string[] = ['lease_lost', 'fenced', 'log_unproved'];

export async function runRound(
  ground: GauntletGround,
  {
    random,
    faultsWanted,
    first,
  }: { readonly random: () => number; readonly faultsWanted: number; readonly first?: readonly Fault[] | undefined },
  tell: (text: string) => void,
): Promise<Told<GauntletRound>> {
  const struck: string[] = [];
  const recoveries: Record<string, number[]> = {};
  for (const { ends } of ground.posts) ends.length = 0;
  const meet = async (fault: Fault): Promise<void> => {
    const name = nameOf(fault);
    if (!(await inflict(fault, ground))) return;
    tell(`over: ${name}`);
    struck.push(name);
    const ms = Math.round(await ground.recovered());
    tell(`recovered in ${(ms / 1_000).toFixed(1)} s: ${name}`);
    (recoveries[name] ??= []).push(ms);
  };
  const { verdict, marks, effects } = await ground.underLoad(random, async () => {
    const brokers: Promise<void>[] = [];
    while (struck.length < faultsWanted) {
      const burst = struck.length === 0 && first !== undefined ? first : drawBurst(random, ground.servers.sink);
      tell(`burst: ${JSON.stringify(burst)}`);
      // A broker takes its time to come back, and the next bursts meet the cluster without it.
      brokers.push(...burst.filter(({ tag }) => tag === 'broker').map(meet));
      const others = burst.filter(({ tag }) => tag !== 'broker').map(meet);
      await Promise.race([Promise.all([...others, ground.recovered()]), failureOf(brokers)]);
      tell('recovered');
    }
    await Promise.all(brokers);
  });
  const ends = ground.posts.flatMap((post) => post.ends);
  const defects = ends.filter((code) => !endsOfDesign.includes(code));
  return {
    faults: counted(struck),
    recoveries,
    ends: counted(ends),
    committed: ground.committed,
    marks,
    effects,
    verdict: { ...verdict, defects },
  };
}

/** Rejects with the first that does; never resolves. */
async function failureOf(works: readonly Promise<void>[]): Promise<never> {
  await Promise.all(works);
  return await new Promise<never>(() => undefined);
}
