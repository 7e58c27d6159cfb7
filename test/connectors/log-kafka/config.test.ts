import { describe, expect, it } from 'vitest';
import { configSchema } from '../../../connectors/log-kafka/config.ts';

const least = { kind: 'kafka', brokers: ['kafka-1.example.com:9092'], topic: 'causeway.orders' };
const tls = {};

/** `path: message` of each mistake. */
function mistakes(over: Record<string, unknown>): readonly string[] {
  const parsed = configSchema.safeParse({ ...least, ...over });
  return (parsed.error?.issues ?? []).map(({ path, message }) => `${path.join('.')}: ${message}`);
}

describe('the configuration', () => {
  it('is safe unless it says otherwise', () => {
    expect(configSchema.parse(least)).toMatchObject({
      partitions: 12,
      replicationFactor: 3,
      minInsyncReplicas: 2,
      retention: 7 * 86_400_000,
      recordBytesMax: 8 * 1024 ** 2,
      compression: 'zstd',
      requestTimeout: 10_000,
    });
  });

  it.each([
    [{ brokers: ['kafka-1'] }, 'brokers.0: is not an address'],
    [{ brokers: ['::1:9092'] }, 'brokers.0: is not an address'],
    [
      { tls, sasl: { mechanism: 'plain', username: 'u', passwordFile: 'p', extensions: { a: 'b' } } },
      'sasl: does not fit the mechanism plain',
    ],
    [{ topic: 'a topic' }, 'topic: is no name for a topic'],
    [{ topic: '..' }, 'topic: is no name for a topic'],
    [{ topic: 'a'.repeat(201) }, 'topic: is no name for a topic'],
    [{ retention: '7' }, 'retention: is not a duration'],
    [{ recordBytesMax: '1KiB' }, 'recordBytesMax: must be between 512KiB and 64MiB'],
    [{ replicationFactor: 1 }, 'minInsyncReplicas: is greater than replicationFactor, so that nothing could ever be written'],
    [{ tls: { cert: 'c.pem' } }, 'tls: has only one of cert and key'],
    [{ tls, sasl: { mechanism: 'plain', username: 'u' } }, 'sasl: does not fit the mechanism plain'],
    [{ tls, sasl: { mechanism: 'aws-msk-iam', region: 'eu-west-1', username: 'u' } }, 'sasl: does not fit the mechanism aws-msk-iam'],
    [{ tls, sasl: { mechanism: 'oauthbearer', tokenFile: 't', scope: 's' } }, 'sasl: does not fit the mechanism oauthbearer'],
    [
      { sasl: { mechanism: 'plain', username: 'u', passwordFile: 'p' } },
      'sasl.mechanism: would send a secret over a connection that is not encrypted',
    ],
  ])('%j is a mistake', (over, mistake) => {
    expect(mistakes(over)).toEqual([mistake]);
  });

  it.each([
    { tls: { ca: 'ca.pem', cert: 'c.pem', key: 'k.pem' } },
    { tls, sasl: { mechanism: 'plain', username: 'u', passwordFile: 'p' } },
    { sasl: { mechanism: 'scram-sha-512', username: 'u', passwordFile: 'p' } },
    { brokers: ['localhost:9092', '127.0.0.1:9093'], sasl: { mechanism: 'plain', username: 'u', passwordFile: 'p' } },
    { brokers: ['[::1]:9092'], sasl: { mechanism: 'plain', username: 'u', passwordFile: 'p' } },
    { brokers: ['[2001:db8::7]:9092'] },
    { tls, sasl: { mechanism: 'oauthbearer', tokenFile: 't' } },
    { tls, sasl: { mechanism: 'oauthbearer', tokenFile: 't', extensions: { logicalCluster: 'lkc-1', identityPoolId: 'pool-1' } } },
    {
      tls,
      sasl: { mechanism: 'oauthbearer', tokenUrl: 'https://login.example.com/token', clientId: 'c', clientSecretFile: 's', scope: 'k' },
    },
    { tls, sasl: { mechanism: 'aws-msk-iam', region: 'eu-west-1' } },
  ])('%j is none', (over) => {
    expect(mistakes(over)).toEqual([]);
  });
});
