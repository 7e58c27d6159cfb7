import { paceOf } from './load-pace.ts';
import { isUnderWay, type LoadRow } from './load-row.ts';
import type { MonoMs } from './position.ts';

/** What the source kept for the slot at one moment, and how much more it would before it gives the slot up; null where it never does. */
export type BudgetLook = { readonly atMs: MonoMs; readonly headroomBytes: number | null; readonly retainedBytes: number };

/** Why no rows are read for now. The stream goes on. */
export type LoadsHeld = {
  /** `low`: little is left. `falling`: what is left would be used up before the loads have ended. */
  readonly reason: 'low' | 'falling';
  readonly headroomBytes: number;
  /** All that the source keeps for the slot at most. */
  readonly budgetBytes: number;
  readonly bytesPerSecond: number;
};

/** `looks`: those of the last two minutes, the newest last. */
export type Budget = { readonly looks: readonly BudgetLook[]; readonly held: LoadsHeld | null };

export const noBudget: Budget = { looks: [], held: null };

const WINDOW_MS = 120_000;
/** Looks over so long tell whether the headroom falls: half of it has to hold one of the steps in which the source frees its log. */
const SPAN_MIN_MS = 100_000;
/** A fall by no more than this share of the budget is none. */
const NOISE = 0.02;
/** Below this share of the budget nothing is read. */
const LOW = 0.1;
/** What is left has to last for so many times as long as the loads take. */
const SAFETY = 2;
/** And once loads are held, for so much more than that before they go on. */
const RECOVERED = 2;
/** A load of which nobody knows how long it takes. */
const UNKNOWN_SECONDS = 86_400;

/** `secondsLeft`: until the running loads end, null where that is not known; absent where none is running. */
export function budgetAfter(before: Budget, look: BudgetLook, running?: { readonly secondsLeft: number | null }): Budget {
  const looks = [...before.looks, look].filter(({ atMs }) => atMs > look.atMs - WINDOW_MS);
  const { headroomBytes } = look;
  if (headroomBytes === null || running === undefined) return { looks, held: null };
  const budgetBytes = Math.max(...looks.map(budgetOf));
  const bytesPerSecond = burnOf(looks, budgetBytes);
  const margin = before.held === null ? 1 : RECOVERED;
  const facts = { headroomBytes, budgetBytes, bytesPerSecond };
  if (headroomBytes < LOW * margin * budgetBytes) return { looks, held: { reason: 'low', ...facts } };
  const neededSeconds = SAFETY * margin * (running.secondsLeft ?? UNKNOWN_SECONDS);
  if (headroomBytes < bytesPerSecond * neededSeconds) return { looks, held: { reason: 'falling', ...facts } };
  return { looks, held: null };
}

/** True where loads would be held at once. */
export function isBudgetLow(slot: Omit<BudgetLook, 'atMs'>): boolean {
  return slot.headroomBytes !== null && slot.headroomBytes < LOW * budgetOf(slot);
}

/** Until the last of the loads that are under way has ended; absent where all are over or paused. */
export function loadsRunning(rows: readonly LoadRow[], nowWallMs: number): { readonly secondsLeft: number | null } | undefined {
  const running = rows.filter((row) => isUnderWay(row) && !row.paused);
  if (running.length === 0) return undefined;
  const left = running.map((row) => paceOf(row, nowWallMs).secondsLeft);
  return { secondsLeft: left.reduce((most, one) => (most === null || one === null ? null : Math.max(most, one))) };
}

export function heldText({ reason, headroomBytes, budgetBytes, bytesPerSecond }: LoadsHeld): string {
  const left = `the source gives the slot up after another ${megabytes(headroomBytes)}, of ${megabytes(budgetBytes)}`;
  return reason === 'low'
    ? `${left}, and loads go on once a fifth is left`
    : `${left}, and that falls by ${megabytes(bytesPerSecond)} a second: it would be used up before the loads end`;
}

export const HELD_MEND =
  'raise max_slot_wal_keep_size at the source, or end what keeps its log; `causeway snapshot pause` stops loads by hand';

function budgetOf({ headroomBytes, retainedBytes }: Omit<BudgetLook, 'atMs'>): number {
  return (headroomBytes ?? 0) + retainedBytes;
}

/** By the peaks of both halves of the time: between two steps of the source the headroom falls though nothing is wrong. */
function burnOf(looks: readonly BudgetLook[], budgetBytes: number): number {
  const [first] = looks;
  const last = looks.at(-1);
  if (first === undefined || last === undefined || last.atMs - first.atMs < SPAN_MIN_MS) return 0;
  const middle = (first.atMs + last.atMs) / 2;
  const higher = (a: BudgetLook, b: BudgetLook): BudgetLook => ((b.headroomBytes ?? 0) > (a.headroomBytes ?? 0) ? b : a);
  const before = looks.filter(({ atMs }) => atMs < middle).reduce(higher);
  const since = looks.filter(({ atMs }) => atMs >= middle).reduce(higher);
  const fall = (before.headroomBytes ?? 0) - (since.headroomBytes ?? 0);
  // A peak is seen up to one look late.
  const steps = looks.slice(1).map(({ headroomBytes }, at) => (looks[at]?.headroomBytes ?? 0) - (headroomBytes ?? 0));
  if (fall <= Math.max(NOISE * budgetBytes, ...steps)) return 0;
  return fall / ((since.atMs - before.atMs) / 1_000);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
