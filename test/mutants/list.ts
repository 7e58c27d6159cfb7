import { applyMutants } from './list/apply.ts';
import { captureMutants } from './list/capture.ts';
import { controlStoreMutants } from './list/control-stores.ts';
import { kafkaLogMutants } from './list/kafka-log.ts';
import { kafkaLogReadMutants } from './list/kafka-log-read.ts';
import { leaseMutants } from './list/leases.ts';
import { ownRecordsMutants } from './list/own-records.ts';
import { runtimeMutants } from './list/runtime.ts';
import { sinkPostgresMutants } from './list/sink-postgres.ts';
import { sourcePostgresMutants } from './list/source-postgres.ts';
import { coreMutants, storeMutants } from './list/stores.ts';
import { simulation, type Mutant } from './mutant.ts';

const single: readonly Mutant[] = [
  ...captureMutants,
  ...ownRecordsMutants,
  ...leaseMutants,
  ...applyMutants,
  ...sourcePostgresMutants,
  ...sinkPostgresMutants,
  ...storeMutants,
  ...controlStoreMutants,
  ...kafkaLogMutants,
  ...kafkaLogReadMutants,
  ...coreMutants,
  ...runtimeMutants,
];

/** These break what only a schedule shows: the simulator has to find them by itself, beside the test that was written for them. */
const simulated: ReadonlySet<string> = new Set([
  'records count as durable while they are on their way',
  'acknowledge before the checkpoint is stored',
  'the checkpoint is stored over a higher generation',
  'a superseded generation is applied',
  'commit the offset before the effect',
  "store progress of the batch's end",
  'keep only the newest partial image',
  'the floor of a truncate is not stored',
  'sweep without waiting for the other partitions',
  'a parked key is kept in memory only',
]);

export const mutants: readonly Mutant[] = [
  ...single,
  ...single
    .filter(({ name }) => simulated.has(name))
    .map((mutant) => ({ ...mutant, name: `${mutant.name}, in the simulator`, suite: simulation() })),
];
