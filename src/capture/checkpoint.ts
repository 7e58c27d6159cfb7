import { assert } from '#core/assert.ts';
import { controlKeys, type CheckpointRow, type PartitionCheckpoint, type UnshownTransactions } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import type { Epoch, FencingToken, Position } from '#core/position.ts';
import { comparePairs } from '#core/record.ts';
import { maxSequence, type Sequence } from '#core/sequence.ts';
import { changeRow, type ControlAccess } from './control-rows.ts';

export type CheckpointOwner = { readonly generation: FencingToken; readonly holder: string };

export type CheckpointStep = {
  readonly position: Position;
  readonly sequence: Sequence | null;
  readonly partitions: readonly (PartitionCheckpoint | null)[];
  readonly heartbeats?: number | undefined;
  /** Of the transactions up to `position`; null where they are not known. */
  readonly unshown?: readonly string[] | null | undefined;
};

/**
 * The fence of what may be acknowledged. A slot knows no token, so each position is first stored here by compare-and-swap,
 * which fails once a higher generation stands in the row.
 */
export class Checkpoint {
  readonly #access: ControlAccess;
  readonly #pipeline: string;
  readonly #owner: CheckpointOwner;
  readonly #compare: (a: Position, b: Position) => number;
  #row: CheckpointRow | null = null;

  constructor(input: {
    readonly access: ControlAccess;
    readonly pipeline: string;
    readonly owner: CheckpointOwner;
    readonly comparePositions: (a: Position, b: Position) => number;
  }) {
    this.#access = input.access;
    this.#pipeline = input.pipeline;
    this.#owner = input.owner;
    this.#compare = input.comparePositions;
  }

  /** As it was stored last; null before there is one. */
  get row(): CheckpointRow | null {
    return this.#row;
  }

  /**
   * Writes the own generation into the row, which keeps its position. From then on no older holder stores, and so
   * acknowledges, anything. Null where there is no row. Errors: `fenced`, `generation_behind`.
   */
  async fence(signal: AbortSignal): Promise<CheckpointRow | null> {
    this.#row = await this.#change((current) => (current === null ? null : { ...current, ...this.#owner }), signal);
    return this.#row;
  }

  /** The first row of a pipeline. Errors: `fenced` where another holder made one. */
  async create(input: CheckpointStep & { readonly epoch: Epoch }, signal: AbortSignal): Promise<CheckpointRow> {
    const { unshown: _, ...step } = input;
    const value: CheckpointRow = { ...this.#owner, ...step };
    const stored = await this.#change((current) => current ?? value, signal);
    assert(stored !== null, 'a checkpoint that was stored is there');
    this.#row = stored;
    return stored;
  }

  /** Moves the row on; neither position nor sequence falls. Errors: `fenced`, `checkpoint_lost` where the row is gone. */
  async advance(step: CheckpointStep, signal: AbortSignal): Promise<CheckpointRow> {
    const stored = await this.#change((current) => {
      if (current === null)
        throw new CausewayError('checkpoint_lost', 'the checkpoint was removed from the control store while capture ran');
      return this.#moved(current, step);
    }, signal);
    assert(stored !== null, 'a checkpoint that was advanced is there');
    this.#row = stored;
    return stored;
  }

  #moved(current: CheckpointRow, step: CheckpointStep): CheckpointRow {
    const forward = this.#compare(step.position, current.position) > 0;
    const sequence =
      current.sequence === null || step.sequence === null
        ? (step.sequence ?? current.sequence)
        : maxSequence(step.sequence, current.sequence);
    const heartbeats = step.heartbeats ?? current.heartbeats;
    const { unshown: known, ...rest } = current;
    const backward = this.#compare(step.position, current.position) < 0;
    const unshown = backward ? known : unshownAt(step);
    return {
      ...rest,
      ...(unshown === undefined ? {} : { unshown }),
      ...(heartbeats === undefined ? {} : { heartbeats }),
      position: forward ? step.position : current.position,
      sequence,
      partitions: step.partitions.map((partition, index) => later(partition, current.partitions[index] ?? null)),
    };
  }

  #change(change: (current: CheckpointRow | null) => CheckpointRow | null, signal: AbortSignal): Promise<CheckpointRow | null> {
    const key = controlKeys.checkpoint(this.#pipeline);
    const fenced = (current: CheckpointRow | null): CheckpointRow | null => {
      if (current !== null) assertNotFenced(current, this.#owner);
      return change(current);
    };
    return changeRow<CheckpointRow>(this.#access, { key, change: fenced }, signal);
  }
}

function unshownAt({ position, unshown }: CheckpointStep): UnshownTransactions | undefined {
  return unshown === undefined || unshown === null ? undefined : { position, ids: unshown };
}

/** What the row tells of transactions that reads do not show yet; null where that is of another position, or was never told. */
export function unshownOf({ position, unshown }: CheckpointRow): readonly string[] | null {
  return unshown?.position === position ? unshown.ids : null;
}

function later(a: PartitionCheckpoint | null, b: PartitionCheckpoint | null): PartitionCheckpoint | null {
  if (a === null || b === null) return a ?? b;
  return comparePairs(a, b) >= 0 ? a : b;
}

function assertNotFenced(current: CheckpointRow, owner: CheckpointOwner): void {
  if (current.generation > owner.generation) {
    throw new CausewayError('fenced', `generation ${current.generation} stands in the checkpoint, above our own ${owner.generation}`);
  }
  if (current.generation === owner.generation && current.holder !== owner.holder) {
    throw new CausewayError(
      'generation_behind',
      `generation ${owner.generation} was given out twice: the control store went back; run \`causeway lease raise --above ${current.generation}\``,
    );
  }
}
