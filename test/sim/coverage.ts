import { sites, type CallFaultKind, type Site } from './sites.ts';

/** How often each call was made, and each fault struck, by what and where. Adds up over seeds. */
export class Coverage {
  readonly calls: number[] = new Array<number>(sites.length).fill(0);
  /** By `kind site`, or by the tag of a fault that is not of one call. */
  readonly faults = new Map<string, number>();
  readonly figures = new Map<string, number>();

  /** `index`: of the site. */
  called(index: number): void {
    this.calls[index] = (this.calls[index] ?? 0) + 1;
  }

  struck(kind: CallFaultKind, site: Site): void {
    this.#count(this.faults, `${kind} ${site}`, 1);
  }

  happened(tag: string): void {
    this.#count(this.faults, tag, 1);
  }

  add(figure: string, count = 1): void {
    this.#count(this.figures, figure, count);
  }

  merge(other: CoverageData): void {
    for (const [index, count] of other.calls.entries()) this.calls[index] = (this.calls[index] ?? 0) + count;
    for (const [name, count] of other.faults) this.#count(this.faults, name, count);
    for (const [name, count] of other.figures) this.#count(this.figures, name, count);
  }

  toData(): CoverageData {
    return { calls: this.calls, faults: [...this.faults], figures: [...this.figures] };
  }

  #count(map: Map<string, number>, name: string, count: number): void {
    map.set(name, (map.get(name) ?? 0) + count);
  }
}

export type CoverageData = {
  readonly calls: readonly number[];
  readonly faults: readonly (readonly [string, number])[];
  readonly figures: readonly (readonly [string, number])[];
};
