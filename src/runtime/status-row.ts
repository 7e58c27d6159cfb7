import { controlKeys, type StatusRow } from '#core/control-rows.ts';
import type { ControlStore, RowVersion } from '#core/control.ts';

/** Writes a pipeline's status row again and again. What stands there is known from the last time, so it is not read before each write. */
export class StatusWriter {
  readonly #control: ControlStore;
  readonly #pipeline: string;
  #version: RowVersion | null = null;

  constructor(input: { readonly control: ControlStore; readonly pipeline: string }) {
    this.#control = input.control;
    this.#pipeline = input.pipeline;
  }

  /** Over what another process wrote, or an earlier write whose outcome is not known; once more, then the next one follows soon anyway. */
  async write(value: StatusRow, signal: AbortSignal): Promise<void> {
    if (!(await this.#swap(value, signal))) await this.#swap(value, signal);
  }

  async #swap(value: StatusRow, signal: AbortSignal): Promise<boolean> {
    const key = controlKeys.status(this.#pipeline);
    const swap = await this.#control.swap({ key, value, expected: this.#version }, signal);
    this.#version = swap.tag === 'stored' ? swap.version : (swap.current?.version ?? null);
    return swap.tag === 'stored';
  }
}
