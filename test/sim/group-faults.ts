import type { EncodedRecord } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import { sizeOf, type MemoryLogStore } from '../support/memory-log-store.ts';
import type { Coverage } from './coverage.ts';
import type { EventLoop } from './event-loop.ts';
import { GroupCoordinator } from './group-coordinator.ts';
import type { Network } from './network.ts';
import type { GroupFault, Terminal } from './plan.ts';

/** So long a sink is kept back before what it needs goes. */
const KEPT_BACK_MS = 2_500;

export type GroupFaultsInput = {
  readonly loop: EventLoop;
  readonly network: Network;
  readonly store: MemoryLogStore;
  readonly coverage: Coverage;
  /** Sends whose records are doubled are looked at by the checkers like any other. */
  readonly onAppended: () => void;
};

/** The consumer groups of a log that shares partitions out, and what goes wrong with them and with what is sent to the log. */
export class GroupFaults {
  readonly #input: GroupFaultsInput;
  readonly #groups = new Map<string, GroupCoordinator>();
  /** Sends that are to be doubled, each after so long. */
  readonly #doubled: number[] = [];

  constructor(input: GroupFaultsInput) {
    this.#input = input;
  }

  of(sink: string): GroupCoordinator {
    const group = this.#groups.get(sink) ?? new GroupCoordinator(this.#input.loop, (event) => this.#input.coverage.add(`group: ${event}`));
    this.#groups.set(sink, group);
    return group;
  }

  /** False where it meets nothing. */
  strike(fault: GroupFault): boolean {
    const { loop, store } = this.#input;
    switch (fault.tag) {
      case 'group_storm':
        for (let ms = 0; ms < fault.forMs; ms += fault.everyMs) loop.in(ms, () => this.of(fault.sink).rebalance());
        return true;
      case 'group_kicked':
        return this.of(fault.sink).kick(fault.daemon, fault.forMs);
      case 'commit_refused':
        this.of(fault.sink).refuseCommits(fault.forMs);
        return true;
      case 'group_erased':
        if (fault.whole) this.of(fault.sink).erase();
        return store.progress.delete(fault.sink);
      case 'send_doubled':
        this.#doubled.push(fault.laterMs);
        return true;
    }
  }

  /** A send took effect: its records come again where that is due. */
  appended(records: readonly EncodedRecord[]): void {
    const laterMs = this.#doubled.shift();
    if (laterMs === undefined) return;
    const { loop, store, coverage, onAppended } = this.#input;
    const again = (): void => {
      const isSuperseded = records.some(({ partition, value }) => {
        const newest = store.partition(partition).records.at(-1);
        return newest !== undefined && generationOf(newest.value) > generationOf(value);
      });
      if (isSuperseded) coverage.add('sends doubled behind a later generation');
      for (const { partition, key, value } of records) {
        store.partition(partition).records.push({ offset: store.endOf(partition) as Offset, key, value });
        store.bytes += sizeOf({ key, value });
      }
      coverage.add(laterMs === 0 ? 'sends doubled at once' : 'sends doubled later');

      store.wakeAll();
      onAppended();
    };
    if (laterMs === 0) again();
    else loop.in(laterMs, again);
  }

  /** Retention frees what a sink that was kept back has not read. */
  passStart({ sink }: Terminal & { readonly tag: 'log_start_passed' }): void {
    const { loop, network, store, coverage } = this.#input;
    network.sinkDelayMs.set(sink, KEPT_BACK_MS);
    loop.in(KEPT_BACK_MS, () => {
      network.sinkDelayMs.delete(sink);
      for (const [index, partition] of store.partitions.entries()) {
        const freed = partition.records.splice(0, Math.max(0, partition.records.length - 1));
        partition.start += freed.length;
        for (const record of freed) store.bytes -= sizeOf(record);
        const at = store.progress.get(sink)?.get(index)?.offset;
        if (at !== undefined && at < partition.start) coverage.add('starts moved beyond a reader');
      }
      store.wakeAll();
    });
  }
}

function generationOf(value: Uint8Array): number {
  return (JSON.parse(Buffer.from(value).toString()) as { readonly gen: number }).gen;
}
