import { afterAll, beforeAll, describe } from 'vitest';

import { sinkContract, sinkDialectContract } from '../contract/sink-contract.ts';
import { describePostgres } from '../support/postgres.ts';
import { wantedMajors } from '../support/postgres-servers.ts';
import { PostgresSinkHost } from '../support/postgres-sink-context.ts';

describePostgres('sink-postgres', (major) => {
  let host: PostgresSinkHost;
  beforeAll(async () => {
    host = await PostgresSinkHost.create(major);
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  describe('register sidecar', () => sinkContract('sink-postgres sidecar', () => host.context('sidecar')));
  describe('register inline', () => {
    // Of the newest server whole; what an older one can break are statements and types.
    const contract = major === wantedMajors().at(-1) ? sinkContract : sinkDialectContract;
    contract('sink-postgres inline', () => host.context('inline'));
  });
});
