// What a gauntlet needs of the store that it copies to. Each kind is a file of its own beside this one, and one line here.
import { dynamoDbGauntletSink } from './gauntlet-sink-dynamodb.ts';
import { postgresGauntletSink } from './gauntlet-sink-postgres.ts';
import { spannerGauntletSink } from './gauntlet-sink-spanner.ts';
import type { LedgerSink } from './ledger-load.ts';

export type GauntletSink = LedgerSink & {
  /** On this machine: where the proxies of the daemons lead to. */
  readonly port: number;
  /** The entries of `sinks` in the configuration of a daemon that reaches the store by `port`, as lines of YAML. */
  configured(port: number): readonly string[];
  /** What the configuration, or the client of the store, takes from the environment of the daemon. */
  readonly env: Readonly<Record<string, string>>;
  /**
   * How its server goes away: `kill` as by a crash, where what it had acknowledged is there again afterwards; `hang` where it would have
   * lost that, its connections open and nothing answered.
   */
  readonly outage: 'kill' | 'hang';
  /** Until `comeBack`. */
  goAway(): Promise<void>;
  comeBack(): Promise<void>;
  /** What the store itself does to requests, for a while: it throttles and fails, in part or whole. Null where that is not to be had. */
  readonly weather: StoreWeather | null;
  /** For whoever looks into a round that went wrong: lines of text. Null where the daemons' logs are all there is. */
  readonly evidence: (() => Promise<readonly string[]>) | null;
  dispose(): Promise<void>;
};

export type StoreWeather = {
  /** From now on, until `heal`. `share`: of requests that are struck, 0 to 1. */
  strike(random: () => number, share: number): void;
  /** Returns how many requests were struck. */
  heal(): number;
};

const makers = {
  postgres: postgresGauntletSink,
  dynamodb: dynamoDbGauntletSink,
  spanner: spannerGauntletSink,
} as const satisfies Record<string, () => Promise<GauntletSink>>;

export type SinkKind = keyof typeof makers;
/** The first one is taken unless another one is asked for. */
export const sinkKinds = ['postgres', 'dynamodb', 'spanner'] as const satisfies readonly SinkKind[];

export function gauntletSink(kind: SinkKind): Promise<GauntletSink> {
  return makers[kind]();
}
