// What `check` says of the instance, of older versions and of change streams.
import { describe, expect, test } from 'vitest';
import {
  checkInstance,
  instanceFindings,
  retentionFinding,
  streamsFinding,
  type FoundStream,
} from '../../../connectors/sink-spanner/check-instance.ts';
import type { Client, FoundInstance } from '../../../connectors/sink-spanner/client.ts';
import { configSchema } from '../../../connectors/sink-spanner/config.ts';
import { thrown } from '../../support/thrown.ts';

const config = configSchema.parse({ kind: 'spanner', project: 'project-1', instance: 'copies', database: 'shop' });
const place = { database: 'shop', dialect: 'GOOGLE_STANDARD_SQL' } as const;
const never = new AbortController().signal;

describe('the instance', () => {
  const levelOf = (found: FoundInstance): string | undefined => instanceFindings(found, config).find(({ id }) => id === 'SP-010')?.level;

  test('has the location of its configuration', () => {
    const [location] = instanceFindings({ config: 'projects/project-1/instanceConfigs/regional-europe-west1', state: 'READY' }, config);
    expect([location?.id, location?.level, location?.title]).toEqual([
      'SP-001',
      'ok',
      'the instance copies has the configuration regional-europe-west1',
    ]);
  });

  test('has to be ready, and should have a node', () => {
    expect(levelOf({ state: 'READY', processingUnits: 1_000 })).toBe('ok');
    expect(levelOf({ state: 2, nodeCount: 1 })).toBe('ok');
    expect(levelOf({ state: 'READY', processingUnits: 900 })).toBe('warning');
    expect(levelOf({ state: 'CREATING', processingUnits: 1_000 })).toBe('error');
    const [, small] = instanceFindings({ state: 'READY', processingUnits: 100 }, config);
    expect(small?.details.join()).toContain('it has 100 processing units');
    expect(small?.mend).toEqual(['gcloud spanner instances update copies --project=project-1 --processing-units=1000']);
  });

  test('that may not be looked at is said, and other errors are thrown', async () => {
    const client = (code: number) =>
      ({ instance: () => Promise.reject(Object.assign(new Error('refused by the test'), { code })) }) as unknown as Client;
    const [finding] = await checkInstance(client(7), config, never);
    expect([finding?.level, finding?.details]).toEqual(['skipped', ['the right spanner.instances.get is missing']]);
    expect((await thrown(checkInstance(client(14), config, never))).code).toBe('sink_unavailable');
  });
});

describe('the database', () => {
  const retention = (text: string | null) => retentionFinding(text, place);

  test.each(['1h', '23h', '1439m', '86399s', 'ever'])('keeps older versions for too short a time with %s', (text) => {
    expect(retention(text).level).toBe('warning');
    expect(retention(text).mend).toEqual(["ALTER DATABASE `shop` SET OPTIONS (version_retention_period = '7d');"]);
  });

  test.each(['24h', '1440m', '86400s', '1d', '7d'])('keeps older versions for long enough with %s', (text) => {
    expect(retention(text).level).toBe('ok');
  });

  test('whose retention may not be asked for is said', () => {
    expect([retention(null).level, retention(null).details]).toEqual(['skipped', ['the right spanner.databases.get is missing']]);
  });

  test('tells of change streams over the tables that the sink writes, whatever the case of their letters', () => {
    const of = (...streams: readonly FoundStream[]) => streamsFinding(streams, ['Orders', 'cw_v_Orders']);
    expect(of({ name: 'other', watchesAll: false, tables: ['elsewhere'] }).level).toBe('ok');
    expect(of({ name: 'own', watchesAll: false, tables: ['orders', 'elsewhere'] }).details).toEqual([
      'the change stream own watches orders: each write is stored once more, and what reads it must not write back to the source',
    ]);
    expect(of({ name: 'every', watchesAll: true, tables: [] }).level).toBe('warning');
  });
});
