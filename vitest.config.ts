import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/longest-first.ts';

/** A hanging server must fail its test, not the whole run; a busy machine with two cores must not. */
const unitTimeoutMs = 20_000;
const integrationTimeoutMs = 120_000;

export default defineConfig({
  test: {
    // Nothing is tried again: a test that passes at the second attempt has shown a fault.
    retry: 0,
    // For all projects alike: those with the same number share one pool. By Vitest's own number two processors get one worker for what needs
    // no server, and nothing else runs beside it. Integration files wait most of the time: four at once keep two processors busy.
    maxWorkers: 4,
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: [
            'test/{core,capture,chunk,apply,reconcile,lease,codec,config,cli,http,metrics,runtime,connectors,docs,golden,mutants,fuzz}/**/*.test.ts',
            'test/{tidy,imports}.test.ts',
          ],
          testTimeout: unitTimeoutMs,
        },
      },
      {
        extends: true,
        test: { name: 'contract', include: ['test/contract/**/*.test.ts'], testTimeout: unitTimeoutMs },
      },
      {
        extends: true,
        test: { name: 'sim', include: ['test/sim/**/*.test.ts'], testTimeout: 60_000 },
      },
      {
        extends: true,
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          globalSetup: ['test/support/global-setup.ts'],
          testTimeout: integrationTimeoutMs,
          hookTimeout: integrationTimeoutMs,
        },
      },
    ],
  },
});
