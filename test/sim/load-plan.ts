// Draws of their own, so that the other plans stay as they are.
import { Dice } from './chance.ts';
import {
  TABLES,
  type CallFault,
  type Fault,
  type LoadStep,
  type Plan,
  type PlannedLoads,
  type PlannedOp,
  type PlannedTransaction,
} from './plan.ts';
import { faultsOf, type Site } from './sites.ts';

/** One seed in so many has tables that are loaded. */
const LOADS_SHARE = 0.5;
const LOAD_DRAWS = 0x5eed0004;

/** Nearly always for a moment; now and then for longer than another holder takes to follow. */
const HIDDEN_MS = [
  [1, 20],
  [1, 250],
  [1, 250],
  [250, 2_000],
  [2_000, 6_000],
] as const;

/** What a load calls, and what it waits for. */
const siteWeights = {
  'source.rows.mark': 6,
  'source.rows.read': 5,
  'source.rows.look': 2,
  'source.messages': 3,
  'source.provision': 2,
  'control.swap': 5,
  'control.get': 2,
  'control.list': 1,
  'log.append': 6,
  'runtime.sleep': 2,
} satisfies Partial<Record<Site, number>>;

/**
 * In a part of the seeds: tables that hold rows before the pipeline begins, loads that are asked for, paused and cancelled, commits that
 * reads show later than the stream, and what goes wrong while rows are read.
 */
export function withLoads(plan: Plan, busyMs: number): Plan {
  const dice = new Dice(plan.seed ^ LOAD_DRAWS);
  if (!dice.chance(LOADS_SHARE)) return plan;
  const steps = drawSteps(dice, plan, busyMs);
  const loads: PlannedLoads = {
    before: drawRows(dice),
    clientsFirst: dice.chance(0.5),
    chunk: {
      targetMs: dice.pick([20, 250]),
      rowsFirst: dice.pick([1, 2, 5, 20, 500]),
      rowsMax: dice.pick([1, 3, 8, 500]),
      bytesMax: dice.pick([40, 200, 4_000, 1_000_000]),
      hotMax: dice.pick([1, 3, 1_000, 1_000]),
    },
    shownMax: dice.pick([2, 200_000, 200_000]),
    loadsAtOnce: dice.pick([1, 2, 3]),
    readMs: dice.pick([0, 0, 20, 60, 150]),
  };
  const asked = steps.filter((step) => step.tag === 'load_asked');
  const times = [0, ...asked.map(({ atMs }) => atMs)];
  const transactions = [...plan.transactions, ...drawBursts(dice, asked)].toSorted((a, b) => a.atMs - b.atMs);
  const faults: Fault[] = [...plan.faults, ...steps];
  for (let left = dice.whole(1, 6); left > 0; left -= 1) faults.push(drawCallFault(dice, plan, dice.pick(times)));
  for (let left = dice.whole(0, 2); left > 0; left -= 1) faults.push(...drawHandOver(dice, plan, dice.pick(times)));
  return { ...plan, loads, transactions: withHidden(dice, transactions), faults };
}

function drawRows(dice: Dice): readonly PlannedTransaction[] {
  const transactions: PlannedTransaction[] = [];
  const refused = dice.chance(0.2) ? 0.03 : 0;
  for (let table = 0; table < TABLES; table += 1) {
    if (dice.chance(0.25)) continue;
    const rows = dice.whole(1, dice.pick([4, 12, 40, 120]));
    const ops = Array.from({ length: rows }, (_, key) => ({ op: 'put', table, key, refused: dice.chance(refused) }) as const);
    transactions.push({ atMs: 0, shared: dice.chance(0.2), ops });
  }
  return transactions;
}

/** Writes to the rows that are being loaded, while they are. */
function drawBursts(dice: Dice, asked: readonly (LoadStep & { readonly tag: 'load_asked' })[]): readonly PlannedTransaction[] {
  const first = Array.from({ length: TABLES }, (_, table) => ({ atMs: 0, table }));
  const bursts = [...first, ...asked].filter(() => dice.chance(0.5));
  const traits = { schemas: dice.chance(0.15) ? 1 : 0, partial: dice.pick([8, 24, 100]) };
  return bursts.flatMap(({ atMs, table }) => {
    const keys = dice.pick([4, 12, 40]);
    return Array.from({ length: dice.whole(1, 35) }, (): PlannedTransaction => {
      const at = Math.round(atMs + dice.unit() * dice.unit() * 1_500);
      return { atMs: at, shared: false, ops: Array.from({ length: dice.whole(1, 3) }, () => drawOp(dice, { table, keys, ...traits })) };
    });
  });
}

function drawOp(
  dice: Dice,
  of: { readonly table: number; readonly keys: number; readonly schemas: number; readonly partial: number },
): PlannedOp {
  const { table, keys } = of;
  const key = dice.whole(0, keys - 1);
  const op = dice.weighted({ put: 40, partial: of.partial, delete: 14, rekey: 14, unreadable: 1, truncate: 2, add_column: of.schemas });
  switch (op) {
    case 'put':
    case 'partial':
      return { op, table, key, refused: false };
    case 'delete':
    case 'unreadable':
      return { op, table, key };
    case 'rekey':
      return { op, table, key, to: dice.whole(0, 2 * keys), partial: dice.chance(0.2) };
    case 'truncate':
      return { op, tables: [table] };
    case 'add_column':
      return { op, table };
  }
}

function drawSteps(dice: Dice, plan: Plan, busyMs: number): readonly LoadStep[] {
  const steps: LoadStep[] = [];
  const table = (): number => dice.whole(0, TABLES - 1);
  for (let left = dice.whole(0, 4); left > 0; left -= 1) {
    const sink = dice.chance(0.35) ? dice.pick(plan.sinks) : null;
    steps.push({ tag: 'load_asked', atMs: dice.whole(300, busyMs), table: table(), sink });
  }
  const times = [0, ...steps.map(({ atMs }) => atMs)];
  const soon = (): number => dice.pick(times) + dice.whole(50, 1_500);
  if (dice.chance(0.35)) steps.push({ tag: 'load_paused', atMs: soon(), table: table(), forMs: dice.whole(50, 4_000) });
  if (dice.chance(0.3)) steps.push({ tag: 'load_cancelled', atMs: soon(), table: table() });
  return steps;
}

function drawCallFault(dice: Dice, plan: Plan, fromMs: number): CallFault {
  const site = dice.weighted(siteWeights);
  return {
    tag: 'call',
    kind: dice.pick(faultsOf[site]),
    site,
    daemon: dice.whole(0, plan.daemons - 1),
    afterMs: dice.chance(0.3) ? fromMs : fromMs + dice.whole(0, 1_000),
    skip: dice.chance(0.3) ? 0 : dice.whole(0, 20),
    ms: dice.chance(0.7) ? dice.whole(5, 800) : dice.whole(800, 5_000),
  };
}

/** The holder is gone, or held for so long that another one goes on with what it read. */
function drawHandOver(dice: Dice, plan: Plan, fromMs: number): readonly Fault[] {
  const daemon = dice.whole(0, plan.daemons - 1);
  const atMs = fromMs + dice.whole(20, 2_500);
  switch (dice.pick(['pause', 'stop', 'source_restart', 'late_chunk'] as const)) {
    case 'pause':
      return [{ tag: 'pause', daemon, atMs, forMs: dice.whole(1_000, 7_000), clock: dice.pick(['runs', 'stands'] as const) }];
    case 'stop':
      return [{ tag: 'stop', daemon, atMs, ms: dice.whole(0, 2_000) }];
    case 'source_restart':
      return [{ tag: 'source_restart', atMs, forMs: dice.whole(0, 1_500), slotBack: dice.chance(0.6) }];
    case 'late_chunk': {
      // What its holder had sent arrives when the next one has opened, and changes nothing.
      const of = { tag: 'call', daemon, skip: 0 } as const;
      const dies = { kind: 'crash_before', site: 'runtime.sleep', afterMs: atMs + dice.whole(100, 1_000), ms: dice.whole(5, 800) } as const;
      return [
        { ...of, kind: 'delay', site: 'log.append', afterMs: atMs, ms: dice.whole(3_500, 7_000) },
        { ...of, ...dies },
      ];
    }
  }
}

/** As while a server waits for a standby. */
function withHidden(dice: Dice, transactions: readonly PlannedTransaction[]): readonly PlannedTransaction[] {
  const share = dice.pick([0, 0.05, 0.1, 0.3]);
  return transactions.map((each) => {
    if (!dice.chance(share)) return each;
    const [fromMs, toMs] = dice.pick(HIDDEN_MS);
    return { ...each, hiddenMs: dice.whole(fromMs, toMs) };
  });
}
