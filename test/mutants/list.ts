import { applyDeadLetterMutants } from './list/apply-dead-letters.ts';
import { applyProgressMutants } from './list/apply-progress.ts';
import { applyRecordMutants } from './list/apply-records.ts';
import { applyTruncateMutants } from './list/apply-truncates.ts';
import { captureLoadMutants } from './list/capture-loads.ts';
import { captureRequestMutants } from './list/capture-requests.ts';
import { laterLoadMutants } from './list/later-loads.ts';
import { captureOpeningMutants } from './list/capture-opening.ts';
import { captureStreamMutants } from './list/capture-stream.ts';
import { captureTableMutants } from './list/capture-tables.ts';
import { controlStoreMutants } from './list/control-stores.ts';
import { formatMutants } from './list/formats.ts';
import { kafkaLogMutants } from './list/kafka-log.ts';
import { kafkaLogReadMutants } from './list/kafka-log-read.ts';
import { sinkDynamoDbMutants } from './list/sink-dynamodb.ts';
import { sinkSpannerMutants } from './list/sink-spanner.ts';
import { leaseMutants } from './list/leases.ts';
import { ownRecordsMutants } from './list/own-records.ts';
import { reconcileMutants } from './list/reconcile.ts';
import { runtimeMutants } from './list/runtime.ts';
import { sinkPostgresMutants } from './list/sink-postgres.ts';
import { sinkReadMutants } from './list/sink-reads.ts';
import { sourcePostgresMutants } from './list/source-postgres.ts';
import { coreMutants, storeMutants } from './list/stores.ts';
import { loadSchedule, schedule, simulation, type Mutant, type Suite } from './mutant.ts';

const single: readonly Mutant[] = [
  ...captureOpeningMutants,
  ...captureStreamMutants,
  ...captureTableMutants,
  ...captureLoadMutants,
  ...captureRequestMutants,
  ...laterLoadMutants,
  ...ownRecordsMutants,
  ...reconcileMutants,
  ...leaseMutants,
  ...formatMutants,
  ...applyRecordMutants,
  ...applyTruncateMutants,
  ...applyDeadLetterMutants,
  ...applyProgressMutants,
  ...sourcePostgresMutants,
  ...sinkPostgresMutants,
  ...sinkReadMutants,
  ...storeMutants,
  ...controlStoreMutants,
  ...kafkaLogMutants,
  ...kafkaLogReadMutants,
  ...sinkDynamoDbMutants,
  ...sinkSpannerMutants,
  ...coreMutants,
  ...runtimeMutants,
];

/**
 * These break what only a schedule shows: the simulator has to notice too, beside the test that was written for them. Where its seeds
 * may miss the schedule, as rare as it is, it is written out.
 */
const simulated: Readonly<Partial<Record<string, Suite>>> = {
  'records count as durable while they are on their way': simulation(),
  'acknowledge before the checkpoint is stored': simulation(),
  'the checkpoint is stored over a higher generation': schedule('1: a holder that wakes while its successor takes the slot'),
  'a superseded generation is applied': schedule('1: what a superseded generation adds late'),
  'commit the offset before the effect': simulation(),
  "store progress of the batch's end": simulation(),
  'keep only the newest partial image': simulation(),
  'the floor of a truncate is not stored': simulation(),
  'a parked key is kept in memory only': simulation(),
  'rows are read under any snapshot': simulation(),
  'a shown transaction that a checkpoint stores is forgotten': simulation(),
  'no shown transaction is stored with the checkpoint': loadSchedule('22: a commit shows in the stream long'),
  'a key of which the window shows only a part is left to the log': loadSchedule('get images that leave a column out'),
  'a row that is published whole is as it was read': simulation(),
  'the high mark is not waited for': simulation(),
  'how far a load is, is stored before its rows are durable': loadSchedule('is no further than what counts in the log'),
};

export const mutants: readonly Mutant[] = [
  ...single,
  ...single.flatMap((mutant) => {
    const suite = simulated[mutant.name];
    return suite === undefined ? [] : [{ ...mutant, name: `${mutant.name}, in the simulator`, suite }];
  }),
];
