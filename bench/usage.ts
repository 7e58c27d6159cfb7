// What processes cost: CPU seconds and peak resident memory, read from /proc while they run.
import { readdirSync, readFileSync } from 'node:fs';

/** Linux counts CPU time in hundredths of a second, whatever the kernel's own tick is (proc(5), sysconf(_SC_CLK_TCK)). */
const TICKS_PER_SECOND = 100;
const SAMPLE_MS = 100;

export type Usage = {
  readonly name: string;
  readonly processes: number;
  readonly cpuSeconds: number;
  /** Of the largest process of this name. A Postgres backend's includes the shared buffers that it touched. */
  readonly peakMiB: number;
};

/** Whose children are of interest, and under which name. `children: true` is for a postmaster. */
export type Watched = { readonly name: string; readonly pid: number; readonly children?: boolean };

type Reading = { readonly name: string; readonly cpu: number; readonly peakKiB: number };

/** Samples until `stop`. What a process had used before it was first seen does not count, unless it was born later. */
export class UsageMeter {
  readonly #watched: readonly Watched[];
  readonly #first = new Map<number, number>();
  readonly #last = new Map<number, Reading>();
  readonly #timer: NodeJS.Timeout;

  constructor(watched: readonly Watched[]) {
    this.#watched = watched;
    for (const [pid, reading] of this.#read()) this.#first.set(pid, reading.cpu);
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS);
  }

  stop(): Usage[] {
    clearInterval(this.#timer);
    this.#sample();
    const sums = new Map<string, { processes: number; cpu: number; peakKiB: number }>();
    for (const [pid, { name, cpu, peakKiB }] of this.#last) {
      const sum = sums.get(name) ?? { processes: 0, cpu: 0, peakKiB: 0 };
      sum.processes += 1;
      sum.cpu += cpu - (this.#first.get(pid) ?? 0);
      sum.peakKiB = Math.max(sum.peakKiB, peakKiB);
      sums.set(name, sum);
    }
    return [...sums]
      .map(([name, { processes, cpu, peakKiB }]) => ({ name, processes, cpuSeconds: cpu / TICKS_PER_SECOND, peakMiB: peakKiB / 1024 }))
      .filter(({ cpuSeconds }) => cpuSeconds >= 0.05)
      .sort((a, b) => b.cpuSeconds - a.cpuSeconds);
  }

  #sample(): void {
    for (const [pid, reading] of this.#read()) this.#last.set(pid, reading);
  }

  #read(): Map<number, Reading> {
    const found = new Map<number, Reading>();
    const families = this.#watched.filter(({ children }) => children === true);
    for (const { name, pid } of this.#watched) this.#add(found, name, pid);
    if (families.length === 0) return found;
    for (const entry of readdirSync('/proc')) {
      const pid = Number(entry);
      if (!Number.isInteger(pid)) continue;
      const parent = statOf(pid)?.parent;
      const family = families.find((each) => each.pid === parent);
      if (family !== undefined) this.#add(found, `${family.name}: ${backendKind(pid)}`, pid);
    }
    return found;
  }

  #add(found: Map<number, Reading>, name: string, pid: number): void {
    const stat = statOf(pid);
    const peakKiB = peakKiBOf(pid);
    if (stat !== null && peakKiB !== null) found.set(pid, { name, cpu: stat.cpu, peakKiB });
  }
}

/** What the process has used since its start; null once it has ended. */
export function cpuSecondsOf(pid: number): number | null {
  const stat = statOf(pid);
  return stat === null ? null : stat.cpu / TICKS_PER_SECOND;
}

function statOf(pid: number): { readonly parent: number; readonly cpu: number } | null {
  const stat = readOrNull(`/proc/${pid}/stat`);
  if (stat === null) return null;
  // The command's name stands in brackets and may hold blanks; state, parent and the rest follow it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { parent: Number(fields[1]), cpu: Number(fields[11]) + Number(fields[12]) };
}

/** The highest resident memory that the process ever had; null once it has ended. */
export function peakKiBOf(pid: number): number | null {
  const peak = /^VmHWM:\s+(\d+) kB$/m.exec(readOrNull(`/proc/${pid}/status`) ?? '')?.[1];
  return peak === undefined ? null : Number(peak);
}

/** What Postgres writes into the title of its processes, without what tells two of a kind apart. */
function backendKind(pid: number): string {
  const title = (readOrNull(`/proc/${pid}/cmdline`) ?? '').split('\0')[0] ?? '';
  const words = title.replace(/^postgres: /, '');
  if (words.startsWith('walsender')) return 'walsender';
  if (words.includes('apply worker')) return 'subscription worker';
  const auxiliary = /^(walwriter|checkpointer|background writer|io worker|autovacuum|logical replication launcher)/.exec(words)?.[1];
  return auxiliary ?? 'backends';
}

function readOrNull(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
