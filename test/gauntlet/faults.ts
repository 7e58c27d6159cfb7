// The faults of the gauntlet. They come in bursts: those of one burst overlap, and behind it everything has to recover.
import { setTimeout as sleep } from 'node:timers/promises';
import { leaseTtlMs, partitions, places, type GauntletGround, type Place, type Role } from '../support/gauntlet-ground.ts';
import type { GauntletSink } from '../support/gauntlet-sink.ts';
import { seededRandom } from '../support/random.ts';
import type { TcpProxy, Trouble } from '../support/tcp-proxy.ts';

const troubles = ['cut', 'delay', 'black hole from the daemon', 'black hole to the daemon', 'lost reply'] as const;
const servers = ['source', 'sink', 'control'] as const;

/** Data: what is drawn decides everything but the moment of the machine. */
export type Fault = { readonly afterMs: number; readonly forMs: number } & (
  | { readonly tag: 'kill'; readonly daemon: Role }
  | { readonly tag: 'freeze'; readonly daemon: Role }
  | { readonly tag: 'broker'; readonly partition: number }
  | { readonly tag: 'server'; readonly server: (typeof servers)[number]; readonly outage: GauntletSink['outage'] }
  | {
      readonly tag: 'network';
      readonly daemon: Role;
      readonly place: Place;
      readonly trouble: (typeof troubles)[number];
      readonly delayMs: number;
      /** Of the brokers; null for all. */
      readonly broker: number | null;
    }
  /** The store itself throttles and fails. */
  | { readonly tag: 'weather'; readonly share: number; readonly seed: number }
  | Stranded
);

/**
 * A daemon that goes on without one of the places that it needs, and dies or stands still until another one has taken its place. What it
 * told the others meanwhile stands; what it told that place is lost, or comes late, behind what its successor does there.
 */
type Stranded = {
  readonly tag: 'stranded';
  readonly daemon: Role;
  readonly place: Place;
  readonly trouble: (typeof troubles)[number];
  readonly delayMs: number;
  /** How long it goes on. */
  readonly aloneMs: number;
  readonly end: 'kill' | 'freeze';
  readonly underWay: 'lost' | 'late';
};

/** How often each is drawn, in percent. */
const shares = { kill: 11, freeze: 9, broker: 7, server: 10, network: 29, stranded: 34 } as const;
const burstMax = 6;
const holderShare = 0.75;
const brokerShare = 0.4;
const weatherShare = 0.2;
/** The Spanner sink gives a request 15 s. */
const hangMsMax = 20_000;
/** Of the consumer group, unless configured: who applied keeps its partitions for so long. */
const sessionTimeoutMs = 6_000;
/** The store of a checkpoint comes once a second; the lease ends two to three seconds after the control store was heard last. */
const aloneMs = { least: 1_300, most: 3_000 } as const;
/**
 * What betrays a promise that was made too early: records that are acknowledged to the source and never reach the log; progress that was
 * stored before rows which are then not written, so that a slow sink is better than a silent one; a position that the source was told
 * and the control store was not.
 */
const telling = {
  broker: 'black hole from the daemon',
  sink: 'delay',
  'control store': 'black hole from the daemon',
  source: 'black hole to the daemon',
} as const satisfies Record<Place, (typeof troubles)[number]>;
const tellingShare = 0.75;
const strandings: readonly Place[] = ['broker', 'broker', 'broker', 'sink', 'sink', 'control store', 'control store', 'source'];

/** For runs that are too short to leave it to chance. */
export const brokenPromises: readonly Fault[] = [
  {
    tag: 'stranded',
    // The writers write by then.
    afterMs: 1_500,
    forMs: leaseTtlMs + 1_000,
    daemon: 'holder',
    place: 'broker',
    trouble: telling.broker,
    delayMs: 0,
    aloneMs: 3_000,
    end: 'kill',
    underWay: 'lost',
  },
  {
    tag: 'stranded',
    afterMs: 1_500,
    forMs: 500,
    daemon: 'standby',
    place: 'sink',
    trouble: telling.sink,
    delayMs: 500,
    aloneMs: 3_000,
    end: 'kill',
    underWay: 'lost',
  },
];

/** Faults that overlap, none of them twice at one place. */
export function drawBurst(random: () => number, sink: Pick<GauntletSink, 'outage' | 'weather'>): readonly Fault[] {
  const burst: Fault[] = [];
  const struck = new Set<string>();
  const size = 1 + Math.floor(random() * burstMax);
  for (let draw = 0; draw < size; draw += 1) {
    const fault = sink.weather !== null && random() < weatherShare ? drawWeather(random) : drawFault(random, sink.outage);
    const places = struckPlaces(fault);
    if (places.some((place) => struck.has(place))) continue;
    for (const place of places) struck.add(place);
    burst.push(fault);
  }
  return burst;
}

function drawWeather(random: () => number): Fault {
  const upTo = (count: number): number => Math.floor(random() * count);
  return { tag: 'weather', afterMs: upTo(2_500), forMs: 500 + upTo(7_000), share: 0.05 + random() * 0.6, seed: upTo(2 ** 31) };
}

function drawFault(random: () => number, sinkOutage: GauntletSink['outage']): Fault {
  const upTo = (count: number): number => Math.floor(random() * count);
  const among = <T>(list: readonly T[]): T => list[upTo(list.length)] as T;
  const outlivesLeaseMs = (): number => leaseTtlMs + 500 + upTo(3_500);
  let left = random() * 100;
  const tag = (Object.keys(shares) as (keyof typeof shares)[]).find((name) => (left -= shares[name]) < 0) ?? 'network';
  const afterMs = upTo(2_500);
  // Into the middle of what the network does meanwhile.
  const lateMs = 500 + upTo(3_500);
  // What one fault alone does not bring about, such as a process that dies while its records are on their way, needs two at one daemon.
  const daemon: Role = random() < holderShare ? 'holder' : 'standby';
  switch (tag) {
    case 'kill':
      return { tag, afterMs: lateMs, forMs: upTo(3_000), daemon };
    case 'freeze':
      return { tag, afterMs: lateMs, forMs: outlivesLeaseMs(), daemon };
    case 'broker':
      return { tag, afterMs, forMs: upTo(8_000), partition: upTo(partitions) };
    case 'server': {
      const server = among(servers);
      const outage = server === 'sink' ? sinkOutage : 'kill';
      // Some outlast the product's patience with a request.
      return { tag, afterMs, forMs: upTo(outage === 'hang' ? hangMsMax : 3_000), server, outage };
    }
    case 'network': {
      const place = random() < brokerShare ? 'broker' : among(places.filter((other) => other !== 'broker'));
      const broker = random() < 0.3 ? upTo(3) : null;
      const delayMs = 50 + upTo(750);
      return { tag, afterMs: upTo(1_000), forMs: 300 + upTo(6_000), daemon, place, trouble: among(troubles), delayMs, broker };
    }
    case 'stranded': {
      const place = among(strandings);
      return {
        tag,
        afterMs: upTo(500),
        forMs: (place === 'sink' ? sessionTimeoutMs - leaseTtlMs : 0) + outlivesLeaseMs(),
        daemon: place === 'sink' ? among(['holder', 'standby']) : daemon,
        place,
        trouble: random() < tellingShare ? telling[place] : among(troubles),
        delayMs: 100 + upTo(700),
        aloneMs: aloneMs.least + upTo(aloneMs.most - aloneMs.least),
        end: among(['kill', 'freeze']),
        underWay: among(['lost', 'late']),
      };
    }
  }
}

function struckPlaces(fault: Fault): readonly string[] {
  switch (fault.tag) {
    case 'kill':
    case 'freeze':
      return [fault.daemon];
    case 'network':
      return [`${fault.place} of ${fault.daemon}`];
    case 'stranded':
      return [fault.daemon, `${fault.place} of ${fault.daemon}`];
    case 'broker':
      return [`leader of ${fault.partition}`];
    case 'server':
      return [fault.server];
    case 'weather':
      return [fault.tag];
  }
}

export function nameOf(fault: Fault): string {
  switch (fault.tag) {
    case 'kill':
      return 'kill of a daemon';
    case 'freeze':
      return 'freeze of a daemon, longer than its lease';
    case 'broker':
      return 'kill of a broker that leads a partition';
    case 'server':
      return `${fault.outage} of the ${fault.server === 'control' ? 'control store' : fault.server}`;
    case 'network':
      return `${fault.trouble}, daemon and ${fault.place}`;
    case 'weather':
      return 'the sink throttles and fails';
    case 'stranded':
      return `${fault.end} of a daemon stranded without its ${fault.place}`;
  }
}

/** Returns once it is over: whether it struck anything. */
export async function inflict(fault: Fault, ground: GauntletGround): Promise<boolean> {
  await sleep(fault.afterMs);
  switch (fault.tag) {
    case 'kill': {
      const post = ground.posts[ground.numberOf(fault.daemon)];
      const struck = await post?.kill();
      await sleep(fault.forMs);
      post?.start();
      return struck ?? false;
    }
    case 'freeze': {
      const post = ground.posts[ground.numberOf(fault.daemon)];
      const struck = post?.freeze();
      await sleep(fault.forMs);
      post?.thaw();
      return struck ?? false;
    }
    case 'broker':
      return await ground.killLeader(fault.partition, fault.forMs);
    case 'server':
      await takeAway(fault.server, fault.forMs, ground.servers);
      return true;
    case 'network':
      return await troubleNetwork(fault, ground);
    case 'weather': {
      const { weather } = ground.servers.sink;
      weather?.strike(seededRandom(fault.seed), fault.share);
      await sleep(fault.forMs);
      return (weather?.heal() ?? 0) > 0;
    }
    case 'stranded':
      return await strand(fault, ground);
  }
}

async function takeAway(which: (typeof servers)[number], forMs: number, all: GauntletGround['servers']): Promise<void> {
  if (which === 'sink') await all.sink.goAway();
  else await all[which].kill();
  await sleep(forMs);
  if (which === 'sink') await all.sink.comeBack();
  else await all[which].start();
}

async function troubleNetwork(fault: Fault & { readonly tag: 'network' }, ground: GauntletGround): Promise<boolean> {
  const all: readonly TcpProxy[] = ground.ways[ground.numberOf(fault.daemon)]?.[fault.place] ?? [];
  const struck = all.length === 1 || fault.broker === null ? all : all.filter((_, at) => at === fault.broker);
  for (const proxy of struck) proxy.strike(troubleOf(fault));
  await sleep(fault.forMs);
  return struck.map((proxy) => proxy.heal()).some((times) => times > 0);
}

async function strand(fault: Fault & Stranded, ground: GauntletGround): Promise<boolean> {
  const daemon = ground.numberOf(fault.daemon);
  const post = ground.posts[daemon];
  const ways = ground.ways[daemon]?.[fault.place] ?? [];
  const heal = (): number => ways.reduce((times, proxy) => times + proxy.heal(), 0);
  for (const proxy of ways) proxy.strike(troubleOf(fault));
  await sleep(fault.aloneMs);
  const isStruck = fault.end === 'kill' ? await post?.kill() : post?.freeze();
  if (fault.underWay === 'lost') for (const proxy of ways) proxy.cutAll();
  let noticed = fault.underWay === 'lost' ? heal() : 0;
  await sleep(fault.forMs);
  noticed += fault.underWay === 'late' ? heal() : 0;
  if (fault.end === 'kill') post?.start();
  else post?.thaw();
  return noticed > 0 && isStruck === true;
}

function troubleOf({ trouble, delayMs }: Pick<Stranded, 'trouble' | 'delayMs'>): Trouble {
  switch (trouble) {
    case 'cut':
      return { tag: 'cut' };
    case 'delay':
      return { tag: 'delay', ms: delayMs };
    case 'black hole from the daemon':
      return { tag: 'black hole', direction: 'to the server' };
    case 'black hole to the daemon':
      return { tag: 'black hole', direction: 'to the client' };
    case 'lost reply':
      return { tag: 'lost reply' };
  }
}
