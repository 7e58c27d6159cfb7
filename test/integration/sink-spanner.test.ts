// The Spanner sink on the emulator. What only the service does stands in docs/not-verified.md.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sinkContract } from '../contract/sink-contract.ts';
import { sinkValues } from '../contract/sink-tables.ts';
import { sinkBench } from '../contract/sink.ts';
import { describeShared, sharedService } from '../support/services.ts';
import { spannerContext, SpannerHost } from '../support/spanner-sink-context.ts';

describeShared('spanner', 'sink-spanner', () => {
  let host: SpannerHost;
  beforeAll(async () => {
    host = await SpannerHost.create((await sharedService('spanner')).endpoint);
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  sinkContract('sink-spanner in GoogleSQL', () => spannerContext(host, 'GOOGLE_STANDARD_SQL', { arrays: 'native' }));
  sinkContract('sink-spanner in PostgreSQL', () => spannerContext(host, 'POSTGRESQL', { arrays: 'native' }));
});
