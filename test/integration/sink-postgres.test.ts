import { afterAll, beforeAll, describe } from 'vitest';

import { sinkContract } from '../contract/sink-contract.ts';
import { describePostgres } from '../support/postgres.ts';
import { PostgresSinkHost } from '../support/postgres-sink-context.ts';

describePostgres('sink-postgres', (major) => {
  let host: PostgresSinkHost;
  beforeAll(async () => {
    host = await PostgresSinkHost.create(major);
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  describe.each(['sidecar', 'inline'] as const)('register %s', (register) => {
    sinkContract(`sink-postgres ${register}`, () => host.context(register));
  });
});
