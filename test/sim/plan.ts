import type { ChunkLimits } from '../../src/chunk/size.ts';
import { Dice } from './chance.ts';
import { withLoads } from './load-plan.ts';
import { withRowwiseSinks } from './rowwise-plan.ts';
import { sharedPlan, withClockSteps } from './shared-plan.ts';
import { faultsOf, sites, type CallFaultKind, type Port, type Site } from './sites.ts';

/**
 * Everything that a run is made from, drawn from the seed before it begins: what the source's clients write and what goes wrong.
 * It is data, so it can be printed, and made smaller by leaving things out.
 */
export type Plan = {
  readonly seed: number;
  readonly daemons: number;
  readonly sinks: readonly string[];
  /** Those of them that take a batch row by row, as a store without transactions does. */
  readonly rowwise?: readonly string[];
  readonly partitions: number;
  /** Where it is true, both daemons apply at once; otherwise only the one that captures does. */
  readonly applyEverywhere: boolean;
  /** The log shares the partitions of a sink out among the daemons, all of which apply. */
  readonly sharesPartitions?: boolean;
  /** How fast each daemon's monotonic clock runs, and how far its wall clock is off. */
  readonly clocks: readonly { readonly rate: number; readonly wallSkewMs: number }[];
  readonly limits: { readonly batchRowsMax: number; readonly pendingBytesMax: number; readonly readAheadBytesMax: number };
  /** Absent: the tables hold nothing before the pipeline begins, and nobody asks for a load. */
  readonly loads?: PlannedLoads;
  readonly transactions: readonly PlannedTransaction[];
  readonly faults: readonly Fault[];
};

export type PlannedLoads = {
  /** What the tables hold before the pipeline begins. */
  readonly before: readonly PlannedTransaction[];
  /** Clients write while the pipeline starts for the first time. */
  readonly clientsFirst: boolean;
  readonly chunk: ChunkLimits;
  readonly shownMax: number;
  readonly loadsAtOnce: number;
  /** Extra time that marks and reads take at most, so that more changes come between. */
  readonly readMs: number;
};

/** `table` and `key` are small numbers; what an operation does where the row is not as it expects is in workload.ts. */
export type PlannedTransaction = {
  readonly atMs: number;
  /** All rows stand in one record of the source's log, as after COPY. */
  readonly shared: boolean;
  /** The stream shows it at once, and reads so much later; absent: at once too. */
  readonly hiddenMs?: number;
  readonly ops: readonly PlannedOp[];
};

export type PlannedOp =
  | { readonly op: 'put' | 'partial'; readonly table: number; readonly key: number; readonly refused: boolean }
  | { readonly op: 'delete' | 'unreadable'; readonly table: number; readonly key: number }
  /** A row that takes more than a record of the log may. */
  | { readonly op: 'oversized'; readonly table: number; readonly key: number }
  | { readonly op: 'rekey'; readonly table: number; readonly key: number; readonly to: number; readonly partial: boolean }
  | { readonly op: 'truncate'; readonly tables: readonly number[] }
  /** Not part of a transaction's rows: the table gets or loses a column before it. */
  | { readonly op: 'add_column' | 'drop_column'; readonly table: number };

export type CallFault = {
  readonly tag: 'call';
  readonly kind: CallFaultKind;
  readonly site: Site;
  /** Null: whoever makes the call. */
  readonly daemon: number | null;
  /** It strikes at the first call from then on, after `skip` others. */
  readonly afterMs: number;
  readonly skip: number;
  /** How long a delay takes, a late effect waits, or a process that died stays down. */
  readonly ms: number;
};

export type Fault =
  | CallFault
  | { readonly tag: 'partition'; readonly daemon: number; readonly port: Port; readonly atMs: number; readonly forMs: number }
  /** The process is held. Its monotonic clock runs on (SIGSTOP) or stands (a suspended machine). */
  | { readonly tag: 'pause'; readonly daemon: number; readonly atMs: number; readonly forMs: number; readonly clock: 'runs' | 'stands' }
  /** Asked to stop in the gentle way, and started again. */
  | { readonly tag: 'stop'; readonly daemon: number; readonly atMs: number; readonly ms: number }
  | { readonly tag: 'slow_sink'; readonly sink: string; readonly atMs: number; readonly forMs: number; readonly ms: number }
  /** The sink comes back as it was at `keptMs`. */
  | { readonly tag: 'sink_back'; readonly sink: string; readonly keptMs: number; readonly atMs: number }
  /** The source restarts; its slot may come back at an earlier position. */
  | { readonly tag: 'source_restart'; readonly atMs: number; readonly forMs: number; readonly slotBack: boolean }
  | { readonly tag: 'control_down'; readonly atMs: number; readonly forMs: number }
  /** The log takes nothing more until then, as a full disk would. */
  | { readonly tag: 'log_full'; readonly atMs: number; readonly forMs: number }
  /**
   * The log holds no more than so many bytes, and frees what every sink has behind it: capture waits for a sink that stays behind. At
   * the end the operator raises the limit.
   */
  | { readonly tag: 'log_limit'; readonly atMs: number; readonly forMs: number; readonly bytes: number }
  /** A client writes a row that is too large for a record of the log. */
  | { readonly tag: 'row_too_large'; readonly atMs: number; readonly table: number; readonly key: number }
  /** For so long processes are configured with no more than `keysMax` parked keys; their operator restarts them at both ends. */
  | { readonly tag: 'parked_keys_max'; readonly keysMax: number; readonly atMs: number; readonly forMs: number }
  /** Rows that the sink refuses are taken from then on, and the operator replays what was parked. */
  | { readonly tag: 'refusal_ends'; readonly sink: string; readonly atMs: number }
  /** The wall clock of a daemon, or with null that of the source, is set forward or back. */
  | { readonly tag: 'clock_step'; readonly daemon: number | null; readonly atMs: number; readonly byMs: number }
  | LoadStep
  | GroupFault
  | Terminal;

/** What is asked for by `causeway snapshot`. */
export type LoadStep =
  /** Null: for every sink. */
  | { readonly tag: 'load_asked'; readonly atMs: number; readonly table: number; readonly sink: string | null }
  | { readonly tag: 'load_paused'; readonly atMs: number; readonly table: number; readonly forMs: number }
  /** It is asked for again at the end. */
  | { readonly tag: 'load_cancelled'; readonly atMs: number; readonly table: number };

/** What goes wrong with a log that shares partitions out. */
export type GroupFault =
  /** One rebalance after another. */
  | { readonly tag: 'group_storm'; readonly sink: string; readonly atMs: number; readonly forMs: number; readonly everyMs: number }
  /** The group goes on without a member that works on, and for so long the member is not told. */
  | { readonly tag: 'group_kicked'; readonly sink: string; readonly daemon: number; readonly atMs: number; readonly forMs: number }
  | { readonly tag: 'commit_refused'; readonly sink: string; readonly atMs: number; readonly forMs: number }
  /** The group's offsets are gone, and with `whole` the group itself. */
  | { readonly tag: 'group_erased'; readonly sink: string; readonly atMs: number; readonly whole: boolean }
  /** The records of the next send stand in the log twice: at once, or after a while and whoever captures by then. */
  | { readonly tag: 'send_doubled'; readonly atMs: number; readonly laterMs: number };

/** After one of these the pipeline has to stop with a code, and nothing wrong may have been done before. */
export type Terminal =
  | { readonly tag: 'slot_gone' | 'slot_unusable' | 'slot_ahead'; readonly atMs: number }
  | { readonly tag: 'control_lost'; readonly atMs: number }
  | { readonly tag: 'control_back'; readonly keptMs: number; readonly atMs: number }
  | { readonly tag: 'log_tail_lost'; readonly atMs: number }
  | { readonly tag: 'log_start_lost'; readonly atMs: number }
  /** Retention frees what a sink that stayed behind has not read. */
  | { readonly tag: 'log_start_passed'; readonly sink: string; readonly atMs: number }
  | { readonly tag: 'sink_progress_lost'; readonly sink: string; readonly atMs: number };

export const terminalTags: ReadonlySet<Fault['tag']> = new Set([
  'slot_gone',
  'slot_unusable',
  'slot_ahead',
  'control_lost',
  'control_back',
  'log_tail_lost',
  'log_start_lost',
  'log_start_passed',
  'sink_progress_lost',
]);

export const TABLES = 3;
export const KEYS = 9;
/** The log's limit: far above every other row. */
export const RECORD_BYTES_MAX = 16_000;

/** Faults begin before this time, and the workload ends about here. */
export const BUSY_MS = 12_000;
/** A run counts only with as many transactions that changed something, and as many faults that struck. */
export const TRANSACTIONS_MIN = 200;
export const STRUCK_MIN = 3;
const TRANSACTIONS_MAX = 230;
/** One seed in so many has a fault from which the pipeline cannot go on. */
const TERMINAL_SHARE = 0.12;

export function drawPlan(seed: number): Plan {
  const dice = new Dice(seed);
  const daemons = dice.chance(0.5) ? 2 : 1;
  const sinks = dice.chance(0.3) ? ['warm', 'cold'] : ['warm'];
  const drift = dice.chance(0.5);
  const plan: Omit<Plan, 'transactions' | 'faults'> = {
    seed,
    daemons,
    sinks,
    partitions: dice.whole(1, 3),
    applyEverywhere: daemons > 1 && dice.chance(0.35),
    clocks: Array.from({ length: daemons }, () => ({
      // The lease's margin is a tenth: clocks that differ by more than that are outside of what it promises.
      rate: drift ? 1 + (dice.unit() - 0.5) * 0.08 : 1,
      wallSkewMs: drift ? dice.whole(-3_600_000, 3_600_000) : 0,
    })),
    limits: {
      batchRowsMax: dice.pick([1, 3, 20, 500]),
      pendingBytesMax: dice.pick([600, 4_000, 1_000_000]),
      readAheadBytesMax: dice.pick([500, 5_000, 1_000_000]),
    },
  };
  const drawn = { ...plan, transactions: drawTransactions(dice), faults: drawFaults(dice, plan) };
  const hasTerminal = drawn.faults.some(({ tag }) => terminalTags.has(tag));
  return withLoads(withRowwiseSinks(withClockSteps(sharedPlan(drawn, { busyMs: BUSY_MS, hasTerminal }), BUSY_MS), BUSY_MS), BUSY_MS);
}

function drawTransactions(dice: Dice): readonly PlannedTransaction[] {
  const count = dice.whole(TRANSACTIONS_MIN, TRANSACTIONS_MAX);
  const traits = {
    partial: dice.chance(0.6) ? 0.25 : 0,
    refused: dice.chance(0.35) ? 0.03 : 0,
    unreadable: dice.chance(0.2) ? 0.5 : 0,
    truncate: dice.chance(0.4) ? 1.2 : 0,
    rekey: dice.chance(0.7) ? 6 : 0,
    columns: dice.chance(0.35) ? 0.012 : 0,
    large: dice.chance(0.2) ? 0.01 : 0,
    tables: dice.whole(1, TABLES),
    keys: dice.pick([3, KEYS, KEYS, 40]),
  };
  const bursts = dice.chance(0.5);
  const transactions: PlannedTransaction[] = [];
  let atMs = 0;
  for (let index = 0; index < count; index += 1) {
    const stepMs = (BUSY_MS / count) * 2;
    atMs += bursts ? (dice.chance(0.1) ? dice.whole(0, 10 * stepMs) : 0) : dice.unit() * stepMs;
    const size = dice.chance(traits.large) ? 120 : dice.chance(0.6) ? 1 : dice.whole(2, 6);
    const ops = Array.from({ length: size }, () => drawOp(dice, traits));
    if (dice.chance(traits.columns))
      ops.unshift({ op: dice.chance(0.7) ? 'add_column' : 'drop_column', table: dice.whole(0, traits.tables - 1) });
    transactions.push({ atMs: Math.round(atMs), shared: dice.chance(0.08), ops });
  }
  return transactions;
}

type Traits = {
  readonly partial: number;
  readonly refused: number;
  readonly unreadable: number;
  readonly truncate: number;
  readonly rekey: number;
  readonly tables: number;
  readonly keys: number;
};

function drawOp(dice: Dice, traits: Traits): PlannedOp {
  const table = dice.whole(0, traits.tables - 1);
  const key = dice.whole(0, traits.keys - 1);
  const op = dice.weighted({ put: 60, delete: 14, rekey: traits.rekey, unreadable: traits.unreadable, truncate: traits.truncate });
  switch (op) {
    case 'put':
      return { op: dice.chance(traits.partial) ? 'partial' : 'put', table, key, refused: dice.chance(traits.refused) };
    case 'delete':
    case 'unreadable':
      return { op, table, key };
    case 'rekey':
      return { op, table, key, to: dice.whole(0, traits.keys - 1), partial: dice.chance(traits.partial / 3) };
    case 'truncate':
      return { op, tables: dice.chance(0.2) && traits.tables > 1 ? [0, 1] : [table] };
  }
}

/** How often a site is chosen: where the product hands over between two systems, more. */
const siteWeights: Readonly<Partial<Record<Site, number>>> = {
  'log.append': 10,
  'control.swap': 10,
  'sink.apply': 10,
  'sink.save': 6,
  'sink.assign': 4,
  'source.messages': 8,
  'source.acknowledge': 5,
  'source.open': 3,
  'source.inspect': 3,
  'log.commit': 3,
  'log.page': 3,
  'letters.take': 2,
  'letters.park': 3,
  'letters.release': 3,
  'sink.sweep': 3,
  'control.get': 3,
  'runtime.sleep': 3,
  // Drawn only where there is a group.
  'group.join': 0,
  'group.sync': 0,
  'group.heartbeat': 0,
  'group.leave': 0,
  'group.offsets': 0,
  'letters.forget': 1,
  // Drawn only where a sink takes rows one by one.
  'sink.look': 0,
  'sink.read': 0,
  'sink.put': 0,
  'sink.step': 0,
};

function drawFaults(dice: Dice, plan: Omit<Plan, 'transactions' | 'faults'>): readonly Fault[] {
  const faults: Fault[] = [];
  const count = dice.whole(4, 12);
  for (let index = 0; index < count; index += 1) faults.push(drawFault(dice, plan));
  // Others may be aimed at a call that is never made again.
  const sure = STRUCK_MIN - faults.filter(({ tag }) => sureTags.has(tag)).length;
  for (let index = 0; index < sure; index += 1) faults.push(drawSureFault(dice));
  const goesBack = faults.some(({ tag }) => tag === 'sink_back');
  // A replay leaves no trace in the log or in the sink's progress: a sink that goes back loses it, which nothing can show.
  if (!goesBack && dice.chance(0.35)) faults.push({ tag: 'refusal_ends', sink: dice.pick(plan.sinks), atMs: dice.whole(4_000, BUSY_MS) });
  if (dice.chance(TERMINAL_SHARE)) faults.push(drawTerminal(dice, plan));
  // A sink that comes back with the progress that it had lost is no sink without progress, and one that goes back needs what a full
  // log has freed.
  const excludesBack = faults.some(({ tag }) => tag === 'sink_progress_lost' || tag === 'log_limit');
  return excludesBack ? faults.filter(({ tag }) => tag !== 'sink_back') : faults;
}

function drawFault(dice: Dice, plan: Omit<Plan, 'transactions' | 'faults'>): Fault {
  const daemon = dice.whole(0, plan.daemons - 1);
  const atMs = dice.whole(0, BUSY_MS);
  const tag = dice.weighted({
    call: 60,
    partition: 8,
    pause: 8,
    stop: 5,
    slow_sink: 4,
    sink_back: 5,
    source_restart: 5,
    control_down: 4,
    log_full: 3,
    log_limit: 4,
    row_too_large: 4,
    parked_keys_max: 3,
  });
  switch (tag) {
    case 'call':
      return drawCallFault(dice, daemon);
    case 'partition':
      return { tag, daemon, port: dice.pick(['source', 'log', 'control', 'sink'] as const), atMs, forMs: dice.whole(100, 6_000) };
    case 'pause':
      return { tag, daemon, atMs, forMs: dice.whole(50, 9_000), clock: dice.pick(['runs', 'stands'] as const) };
    case 'stop':
      return { tag, daemon, atMs, ms: dice.whole(0, 2_000) };
    case 'slow_sink':
      return { tag, sink: dice.pick(plan.sinks), atMs, forMs: dice.whole(500, 5_000), ms: dice.whole(20, 800) };
    case 'sink_back': {
      const keptMs = dice.whole(500, BUSY_MS);
      return { tag, sink: dice.pick(plan.sinks), keptMs, atMs: keptMs + dice.whole(1, 4_000) };
    }
    case 'source_restart':
      return { tag, atMs, forMs: dice.whole(0, 2_000), slotBack: dice.chance(0.6) };
    case 'control_down':
      return { tag, atMs, forMs: dice.whole(100, 6_000) };
    case 'log_full':
      return { tag, atMs, forMs: dice.whole(100, 4_000) };
    case 'log_limit':
      return { tag, atMs, forMs: dice.whole(500, 8_000), bytes: dice.pick([4_000, 12_000, 40_000]) };
    case 'row_too_large':
      return { tag, atMs, table: dice.whole(0, TABLES - 1), key: dice.whole(0, KEYS - 1) };
    case 'parked_keys_max':
      return { tag, keysMax: dice.whole(1, 3), atMs, forMs: dice.whole(500, 6_000) };
  }
}

/** These strike whatever happens. */
const sureTags: ReadonlySet<Fault['tag']> = new Set([
  'partition',
  'slow_sink',
  'source_restart',
  'control_down',
  'log_full',
  'row_too_large',
]);

/** Calls that each run makes again and again from its first second to its end, whatever there is to do. */
const sureSites: readonly Site[] = ['log.append', 'log.page', 'source.messages', 'control.get', 'control.swap', 'runtime.sleep'];

function drawSureFault(dice: Dice): CallFault {
  const site = dice.pick(sureSites);
  const [afterMs, skip, ms] = [dice.whole(0, 2_500), dice.whole(0, 3), dice.whole(5, 800)];
  return { tag: 'call', kind: dice.pick(faultsOf[site]), site, daemon: null, afterMs, skip, ms };
}

function drawCallFault(dice: Dice, daemon: number): CallFault {
  const weights = Object.fromEntries(sites.map((site) => [site, siteWeights[site] ?? 1])) as Record<Site, number>;
  const site = dice.weighted(weights);
  return {
    tag: 'call',
    kind: dice.pick(faultsOf[site]),
    site,
    daemon,
    afterMs: dice.chance(0.15) ? 0 : dice.whole(0, BUSY_MS),
    skip: dice.chance(0.5) ? 0 : dice.whole(0, 12),
    ms: dice.chance(0.7) ? dice.whole(5, 800) : dice.whole(800, 5_000),
  };
}

function drawTerminal(dice: Dice, plan: Omit<Plan, 'transactions' | 'faults'>): Terminal {
  const atMs = dice.whole(3_000, BUSY_MS);
  const tag = dice.weighted({
    slot_gone: 1,
    slot_unusable: 1,
    slot_ahead: 1,
    control_lost: 2,
    control_back: 3,
    log_tail_lost: 1,
    log_start_lost: 1,
    sink_progress_lost: 1,
  });
  switch (tag) {
    case 'control_back':
      return { tag, keptMs: dice.whole(500, atMs - 1), atMs };
    case 'sink_progress_lost':
      return { tag, sink: dice.pick(plan.sinks), atMs };
    default:
      return { tag, atMs };
  }
}
