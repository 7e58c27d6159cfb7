// The brokers that the tests of Kafka stand on.
import { randomUUID } from 'node:crypto';
import { Kafka, logLevel, Partitioners, type Admin, type KafkaConfig } from 'kafkajs';
import { expect, test } from 'vitest';
import { type KafkaBroker, KafkaCluster } from '../support/kafka-cluster.ts';
import { describeOwn, describeShared, sharedService } from '../support/services.ts';

type Access = Omit<KafkaConfig, 'logLevel'>;

async function asAdmin<Result>(access: Access, act: (admin: Admin) => Promise<Result>): Promise<Result> {
  const admin = new Kafka({ ...access, logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    return await act(admin);
  } finally {
    await admin.disconnect();
  }
}

async function send(access: Access, topic: string, value: string): Promise<void> {
  const producer = new Kafka({ ...access, logLevel: logLevel.NOTHING }).producer({ createPartitioner: Partitioners.DefaultPartitioner });
  await producer.connect();
  try {
    await producer.send({ topic, acks: -1, messages: [{ value }] });
  } finally {
    await producer.disconnect();
  }
}

const ends = (access: Access, topic: string): Promise<string[]> =>
  asAdmin(access, async (admin) => (await admin.fetchTopicOffsets(topic)).map(({ high }) => high));

describeShared('kafka', 'the shared broker of Kafka', () => {
  test('makes topics and takes records', async () => {
    const { brokers } = await sharedService('kafka');
    const access = { brokers: [...brokers] };
    const topic = randomUUID();
    await asAdmin(access, (admin) => admin.createTopics({ topics: [{ topic, numPartitions: 1 }] }));
    await send(access, topic, 'one');
    expect(await ends(access, topic)).toEqual(['1']);
  });
});

describeOwn('kafka', 'a broker of Kafka of its own', () => {
  test('is entered with a password of each kind through TLS, and survives a kill with what it acknowledged', async () => {
    const [username, password] = ['alice', 'of alice'];
    await using cluster = await KafkaCluster.create({ users: [{ name: username, password }] });
    const [broker] = cluster.brokers as [KafkaBroker];
    const secure = (mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512', given: string): Access => ({
      brokers: cluster.secureAddresses,
      ssl: { ca: cluster.ca },
      sasl: { mechanism, username, password: given } as KafkaConfig['sasl'] & object,
      retry: { retries: 0 },
    });
    for (const mechanism of ['plain', 'scram-sha-256', 'scram-sha-512'] as const) {
      await asAdmin(secure(mechanism, password), (admin) => admin.createTopics({ topics: [{ topic: mechanism, numPartitions: 1 }] }));
      await expect(asAdmin(secure(mechanism, 'wrong'), (admin) => admin.listTopics())).rejects.toThrow(/[Aa]uthentication/);
    }
    await send({ brokers: cluster.addresses }, 'plain', 'kept');
    await broker.kill();
    await broker.start();
    expect(await ends({ brokers: cluster.addresses }, 'plain')).toEqual(['1']);
  });
});
