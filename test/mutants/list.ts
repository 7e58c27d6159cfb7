import { applyMutants } from './list/apply.ts';
import { captureMutants } from './list/capture.ts';
import { sinkPostgresMutants } from './list/sink-postgres.ts';
import { sourcePostgresMutants } from './list/source-postgres.ts';
import { coreMutants, storeMutants } from './list/stores.ts';
import type { Mutant } from './mutant.ts';

export const mutants: readonly Mutant[] = [
  ...captureMutants,
  ...applyMutants,
  ...sourcePostgresMutants,
  ...sinkPostgresMutants,
  ...storeMutants,
  ...coreMutants,
];
