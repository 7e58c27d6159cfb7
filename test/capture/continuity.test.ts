import { expect, test } from 'vitest';
import type { CheckpointRow, EpochRow, LineageMark } from '#core/control-rows.ts';
import { positionOf, type Epoch, type EpochMicros, type FencingToken } from '#core/position.ts';
import type { SourceFacts } from '#core/source.ts';
import { decideContinuity } from '../../src/capture/continuity.ts';

const checkpoint: CheckpointRow = {
  generation: 3 as FencingToken,
  holder: 'a',
  epoch: 1 as Epoch,
  position: positionOf('100'),
  sequence: null,
  partitions: [null],
};
const epoch: EpochRow = { epoch: 1 as Epoch, identity: { system: 's', timeline: 1 }, fork: '0'.repeat(16) };
const slot = {
  position: positionOf('90'),
  active: false,
  unusable: null,
  retainedBytes: 0,
  backlogBytes: 0,
  headroomBytes: null,
  plugin: 'fake',
  failover: false,
  spilledBytes: null,
  openTransactionSeconds: null,
  walStatus: null,
  name: 'slot',
};
const lineage = { marks: ['m1', 'm2'], heartbeats: 7 };
const facts: SourceFacts = {
  identity: epoch.identity,
  slot,
  tables: [],
  refused: [],
  head: positionOf('200'),
  lineage,
  now: 0 as EpochMicros,
};

const marked = (...ids: readonly string[]): EpochRow => ({
  ...epoch,
  lineage: ids.map((id): LineageMark => ({ id, position: positionOf('50') })),
});

type Input = Partial<Omit<Parameters<typeof decideContinuity>[0], 'facts'>> & { readonly facts?: Partial<SourceFacts> };

test.each<[string, Input, string]>([
  ['a slot behind the checkpoint', {}, 'go_on'],
  ['a slot at the checkpoint', { facts: { slot: { ...slot, position: positionOf('100') } } }, 'go_on'],
  ['a slot one byte ahead', { facts: { slot: { ...slot, position: positionOf('101') } } }, 'source_slot_lost'],
  ['no slot', { facts: { slot: null } }, 'source_slot_lost'],
  ['no slot, and no mark either, after `slot drop`', { epoch: marked('m3'), facts: { slot: null } }, 'source_slot_lost'],
  ['an unusable slot', { facts: { slot: { ...slot, unusable: 'lost' } } }, 'source_slot_lost'],
  ['another system', { facts: { identity: { system: 't', timeline: 1 } } }, 'source_identity_changed'],
  ['another timeline', { facts: { identity: { system: 's', timeline: 2 } } }, 'source_identity_changed'],
  ['a log that ends before what was captured', { facts: { head: positionOf('99') } }, 'source_identity_changed'],
  ['marks that are all there', { epoch: marked('m1', 'm2') }, 'go_on'],
  ['a mark that is missing', { epoch: marked('m1', 'm3') }, 'source_identity_changed'],
  ['an older mark that is missing', { epoch: marked('m0', 'm1', 'm2') }, 'source_identity_changed'],
  ['a mark that nobody compares any more', { epoch: marked('gone', ...Array<string>(8).fill('m1')) }, 'go_on'],
  ['marks that the role may not look at', { epoch: marked('m3'), facts: { lineage: null } }, 'go_on'],
  ['as many heartbeats as were captured', { checkpoint: { ...checkpoint, heartbeats: 7 } }, 'go_on'],
  ['fewer heartbeats than were captured', { checkpoint: { ...checkpoint, heartbeats: 8 } }, 'source_identity_changed'],
  ['heartbeats that the role may not look at', { checkpoint: { ...checkpoint, heartbeats: 8 }, facts: { lineage: null } }, 'go_on'],
  ['an epoch that was raised', { epoch: { ...epoch, epoch: 2 as Epoch } }, 'source_identity_changed'],
  ['a checkpoint without an epoch', { epoch: null }, 'checkpoint_lost'],
  ['nothing at all', { checkpoint: null, epoch: null, logEmpty: true, facts: { slot: null } }, 'create'],
  ['a first start that did not finish', { checkpoint: null, logEmpty: true }, 'recreate'],
  ['the same before its slot', { checkpoint: null, logEmpty: true, facts: { slot: null } }, 'create'],
  ['a slot of another life', { checkpoint: null, epoch: null, logEmpty: true }, 'checkpoint_lost'],
  ['a log that holds records', { checkpoint: null, epoch: null, logEmpty: false, facts: { slot: null } }, 'checkpoint_lost'],
])('%s', (_, input, expected) => {
  const decision = decideContinuity({
    checkpoint,
    epoch,
    logEmpty: false,
    comparePositions: (a, b) => Number(a) - Number(b),
    ...input,
    facts: { ...facts, ...input.facts },
  });
  switch (decision.tag) {
    case 'go_on':
      expect(expected).toBe('go_on');
      break;
    case 'start_fresh':
      expect(decision.slot).toBe(expected);
      break;
    case 'stop':
      expect(decision.error.code).toBe(expected);
  }
});
