import { controlKeys, type EpochRow, type LeaseRow, type SinkRow } from '#core/control-rows.ts';
import { newLoad, type LoadRow } from '#core/load-row.ts';
import { CausewayError } from '#core/errors.ts';
import { EPOCH_FIRST } from '#core/position.ts';
import { randomName } from '#core/random-name.ts';
import type { Source, SourceFacts } from '#core/source.ts';
import type { Checkpoint, CheckpointOwner } from './checkpoint.ts';
import { changeRow, readRow, type ControlAccess } from './control-rows.ts';
import type { CaptureDeps } from './deps.ts';
import type { Tables } from './tables.ts';

export type FirstStart = {
  readonly deps: CaptureDeps;
  readonly access: ControlAccess;
  readonly owner: CheckpointOwner;
  readonly checkpoint: Checkpoint;
  readonly tables: Tables;
};

/**
 * Before a verdict on the source is told, and before anything is made or dropped there: a holder that was suspended compares what it
 * read before with what its successor did meanwhile, and the slot that it would drop is its successor's. Errors: `lease_lost`.
 */
export async function assertStillHolder({ deps, access, owner }: FirstStart, signal: AbortSignal): Promise<void> {
  const row = await readRow<LeaseRow>(access, controlKeys.lease(deps.pipeline), signal);
  if (row?.token === owner.generation && row.holder === owner.holder) return;
  throw new CausewayError('lease_lost', `the capture lease of generation ${owner.generation} was lost while the source was looked at`);
}

const FORK_NONE = '0'.repeat(16);

/**
 * Makes what a pipeline needs that has never published anything. The epoch row comes first and the checkpoint last, so that a
 * start which ends in between is recognised and done again. Tables that hold rows are loaded. Errors: `source_table_refused`, before
 * anything is made; also where that came while the slot was being made, which is dropped again then. `lease_lost` where another
 * holder took over meanwhile.
 */
export async function startFirst(
  start: FirstStart,
  from: { readonly facts: SourceFacts; readonly slot: 'create' | 'recreate' },
  signal: AbortSignal,
): Promise<void> {
  const { deps, access, owner, checkpoint, tables } = start;
  const { source, log, pipeline } = deps;
  const assertCapturable = async (facts: SourceFacts): Promise<void> => {
    try {
      assertTablesCapturable(facts);
    } catch (error) {
      await assertStillHolder(start, signal);
      // Made here or by a start that did not finish; a slot that nobody reads makes the source keep its log for ever.
      if (facts.slot !== null) await source.deprovision(signal);
      throw error;
    }
  };
  await assertCapturable(from.facts);
  const epoch = await openEpoch(access, { pipeline, facts: from.facts }, signal);
  await assertStillHolder(start, signal);
  const begins = await source.provision(from.slot, signal);
  const facts = await source.inspect(signal);
  await assertCapturable(facts);
  const position = begins ?? slotPosition(source, facts);
  await tables.startFresh(facts, signal);
  await startLoads(start, facts, signal);
  const startOffsets = (await log.ends(signal)).map(({ end }) => end);
  for (const sink of deps.sinks) {
    const row: SinkRow = {
      state: 'new',
      reason: null,
      owner: randomName(deps.runtime),
      startOffsets,
      startGeneration: owner.generation,
      blocked: [],
    };
    await changeRow<SinkRow>(
      access,
      { key: controlKeys.sink(pipeline, sink), change: (current) => (current === null ? row : null) },
      signal,
    );
  }
  const partitions = startOffsets.map(() => null);
  await checkpoint.create({ epoch: epoch.epoch, position, sequence: null, partitions }, signal);
}

/**
 * What a table held when the slot began is in no log. A row that is there already is one of a start that did not finish, of which nothing was
 * published, or a successor's.
 */
async function startLoads({ deps, access }: FirstStart, facts: SourceFacts, signal: AbortSignal): Promise<void> {
  const { pipeline, runtime, snapshotNever } = deps;
  const filled = facts.tables.filter(({ schema, holdsRows }) => holdsRows && !snapshotNever(schema.table));
  for (const { schema, rowsExpected = null } of filled) {
    const { table } = schema;
    const row = newLoad({ table, sink: null, rowsExpected, wallMs: runtime.wallMs() });
    await changeRow<LoadRow>(access, { key: controlKeys.load(pipeline, table, null), change: (current) => current ?? row }, signal);
  }
}

async function openEpoch(
  access: ControlAccess,
  of: { readonly pipeline: string; readonly facts: SourceFacts },
  signal: AbortSignal,
): Promise<EpochRow> {
  const { identity } = of.facts;
  const change = (current: EpochRow | null): EpochRow => ({
    epoch: current?.epoch ?? EPOCH_FIRST,
    identity,
    fork: current?.fork ?? FORK_NONE,
  });
  const row = await changeRow<EpochRow>(access, { key: controlKeys.epoch(of.pipeline), change }, signal);
  return row ?? change(null);
}

function slotPosition(source: Source, facts: SourceFacts): NonNullable<SourceFacts['slot']>['position'] {
  if (facts.slot === null) throw new CausewayError('source_slot_lost', `the ${source.kind} source has no slot right after it was made`);
  return facts.slot.position;
}

function assertTablesCapturable(facts: SourceFacts): void {
  const [refused] = facts.refused;
  if (refused !== undefined) {
    const others = facts.refused.length > 1 ? ` (and ${facts.refused.length - 1} more)` : '';
    throw new CausewayError('source_table_refused', `${refused.table} cannot be captured: ${refused.reason}; ${refused.mend}${others}`);
  }
}
