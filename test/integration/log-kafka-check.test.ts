// What `causeway check` finds at a real broker: rights, settings, addresses, clocks and what stands in the topic.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import kafkajs, { Kafka, logLevel, type Admin } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { codeOf } from '#core/errors.ts';
import type { Finding } from '#core/finding.ts';
import type { Log, LogExpectation } from '#core/log.ts';
import type { WallMs } from '#core/position.ts';
import type { Config } from '../../connectors/log-kafka/config.ts';
import { never } from '../contract/log-support.ts';
import { KafkaCluster } from '../support/kafka-cluster.ts';
import { kafkaLog, newTopic } from '../support/kafka-log.ts';
import { describeOwn } from '../support/services.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { realRuntime } from '../support/test-runtime.ts';

const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs;

const users = [
  { name: 'causeway', password: 'right-1' },
  { name: 'limited', password: 'other' },
];
const expected: LogExpectation = { started: true, consumers: [{ name: 'warm', known: true }] };

async function found(log: Log, over: Partial<LogExpectation> = {}): Promise<ReadonlyMap<string, Finding>> {
  const findings = (await log.check?.({ ...expected, ...over }, never)) ?? [];
  expect(new Set(findings.map(({ id }) => id)).size).toBe(findings.length);
  return new Map(findings.map((one) => [one.id, one]));
}

const levels = (findings: ReadonlyMap<string, Finding>): object =>
  Object.fromEntries([...findings.values()].filter(({ level }) => level !== 'ok').map(({ id, level }) => [id, level]));
const text = (findings: ReadonlyMap<string, Finding>, id: string): string => {
  const one = findings.get(id);
  return [...(one?.details ?? []), ...(one?.mend ?? [])].join('\n');
};

describeOwn('kafka', 'looking at Kafka', () => {
  let cluster: KafkaCluster;
  const folder = tempFolder();

  beforeAll(async () => {
    const settings = {
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      'super.users': 'User:ANONYMOUS;User:causeway',
      'offsets.retention.minutes': '30',
    };
    cluster = await KafkaCluster.create({ users, settings });
  });
  afterAll(async () => {
    await cluster.dispose();
    folder[Symbol.dispose]();
  });

  async function withAdmin<T>(work: (admin: Admin) => Promise<T>): Promise<T> {
    const admin = new Kafka({ brokers: cluster.addresses, logLevel: logLevel.NOTHING }).admin();
    await admin.connect();
    try {
      return await work(admin);
    } finally {
      await admin.disconnect();
    }
  }

  async function alter(topic: string, configEntries: { readonly name: string; readonly value: string }[]): Promise<void> {
    const resources = [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic, configEntries }];
    await withAdmin((admin) => admin.alterConfigs({ validateOnly: false, resources }));
  }

  async function made(topic: string, over: Partial<Config> = {}): Promise<void> {
    await using log = kafkaLog({ brokers: cluster.addresses, topic, ...over });
    await log.provision(never);
    await log.prepareConsumer('warm', { known: false }, never);
    await using writer = await log.writer(never);
    await writer.append(
      [0, 1, 1].map((partition) => ({ partition, key: null, value: Buffer.from('a') })),
      never,
    );
  }

  it('a topic that is right has only what one broker cannot give, and nothing is changed', async () => {
    const topic = newTopic();
    await made(topic);
    await using log = kafkaLog({ brokers: cluster.addresses, topic });
    const before = { ends: await log.ends(never), all: await withAdmin((admin) => admin.listTopics()) };
    const findings = await found(log);
    expect(levels(findings)).toEqual({ 'KA-009': 'warning', 'KA-014': 'warning' });
    expect([...findings.keys()].toSorted()).toEqual(
      ['01', '02', '03', '04', '05', '06', '07', '08', '09', '10', '11', '13', '14'].map((number) => `KA-0${number}`),
    );
    expect(text(findings, 'KA-009')).toContain('Set offsets.retention.minutes of the brokers to 60');
    expect(await log.ends(never)).toEqual(before.ends);
    // Kafka's own topics, made when a coordinator is first asked for, are not ours.
    const topics = await withAdmin((admin) => admin.listTopics());
    expect(topics.filter((name) => !name.startsWith('__'))).toEqual(before.all.filter((name) => !name.startsWith('__')));
    expect((await withAdmin((admin) => admin.listGroups())).groups).toEqual([]);
  });

  it('a topic that is missing is made later, unless it was there', async () => {
    const topic = newTopic();
    await using log = kafkaLog({ brokers: cluster.addresses, topic });
    expect(levels(await found(log, { started: false }))).toMatchObject({ 'KA-010': 'skipped' });
    expect(levels(await found(log, { started: null }))).toMatchObject({ 'KA-010': 'skipped' });
    expect(await withAdmin((admin) => admin.listTopics())).not.toContain(topic);
    expect(levels(await found(log))).toMatchObject({ 'KA-010': 'error' });
    await using three = kafkaLog({ brokers: cluster.addresses, topic: newTopic(), replicationFactor: 3, minInsyncReplicas: 2 });
    const findings = await found(three, { started: false });
    expect(levels(findings)).toEqual({ 'KA-010': 'error', 'KA-014': 'warning' });
    expect(findings.get('KA-010')?.mend[0]).toMatch(/^kafka-topics\.sh --bootstrap-server .*--create --topic/);
  });

  it('each setting that is wrong is told with the command that mends it', async () => {
    const topic = newTopic();
    await made(topic);
    await alter(topic, [
      { name: 'cleanup.policy', value: 'compact' },
      { name: 'retention.ms', value: '1000' },
      { name: 'max.message.bytes', value: '1000' },
      { name: 'message.timestamp.type', value: 'CreateTime' },
      { name: 'unclean.leader.election.enable', value: 'true' },
    ]);
    await using log = kafkaLog({ brokers: cluster.addresses, topic, partitions: 4 });
    const findings = await found(log);
    expect(levels(findings)).toMatchObject({
      'KA-003': 'error',
      'KA-005': 'error',
      'KA-006': 'error',
      'KA-007': 'error',
      'KA-008': 'error',
    });
    expect(text(findings, 'KA-005')).toContain('--add-config cleanup.policy=delete,retention.ms=3600000');
    expect(text(findings, 'KA-003')).toContain('unclean.leader.election.enable is true where false is needed');
    expect(text(findings, 'KA-006')).toContain('max.message.bytes is 1000 where 1114112 is needed');
    expect(text(findings, 'KA-007')).toContain('Set log.partitions to 3');
    expect(text(findings, 'KA-010')).toContain('has 3 partitions, and the log 4');
  });

  it('dead letters of a sink that is known have to be there, and those of a new one are made', async () => {
    const topic = newTopic();
    await made(topic);
    await using log = kafkaLog({ brokers: cluster.addresses, topic });
    const lost = await found(log, { consumers: [{ name: 'cold', known: true }] });
    expect(lost.get('KA-010')).toMatchObject({ level: 'error', details: [expect.stringContaining(`${topic}.cold.dead is missing`)] });
    expect((await found(log, { consumers: [{ name: 'cold', known: false }] })).get('KA-010')?.level).toBe('skipped');
  });

  it('an address where nobody answers is named, whatever the others say', async () => {
    const topic = newTopic();
    await made(topic);
    await using one = kafkaLog({ brokers: [...cluster.addresses, '127.0.0.1:1'], topic, connectTimeout: 1_000 });
    const findings = await found(one);
    expect(text(findings, 'KA-001')).toContain('127.0.0.1:1 of log.brokers: log_unavailable');
    expect(findings.get('KA-007')?.level).toBe('ok');
    await using none = kafkaLog({ brokers: ['127.0.0.1:1'], topic, connectTimeout: 1_000 });
    expect(levels(await found(none))).toEqual({ 'KA-001': 'error' });
  });

  it('a broker whose clock is ahead of ours shows', async () => {
    const topic = newTopic();
    await made(topic);
    const behind = { ...realRuntime(), wallMs: () => (Date.now() - 40_000) as WallMs };
    await using log = kafkaLog({ brokers: cluster.addresses, topic, runtime: behind });
    expect(text(await found(log), 'KA-011')).toMatch(/at least (39|40)\.\d s ahead/);
  });

  describe('a topic that somebody else writes', () => {
    it.each([
      ['first', false],
      ['behind what is ours', true],
    ])('%s is refused, and nothing of it is skipped', async (_where, ours) => {
      const offset = ours ? 2 : 0;
      const topic = newTopic();
      if (ours) await made(topic);
      else await emptyTopic(topic);
      const producer = new Kafka({ brokers: cluster.addresses, logLevel: logLevel.NOTHING }).producer();
      await producer.connect();
      await producer.send({ topic, messages: [{ partition: 1, value: '{"v":1,"kind":"change"}' }] });
      await producer.disconnect();
      await using log = kafkaLog({ brokers: cluster.addresses, topic });
      await expect(log.provision(never)).rejects.toMatchObject({ code: 'log_foreign' });
      await expect(log.provision(never)).rejects.toThrow(
        `offset ${offset} of partition 1 of the topic ${topic} is not a record of Causeway`,
      );
      expect((await found(log, { consumers: [] })).get('KA-013')?.level).toBe('error');
    });

    it('as another pipeline is refused, and the pipeline itself goes on', async () => {
      const topic = newTopic();
      await made(topic);
      await using other = kafkaLog({ brokers: cluster.addresses, topic, pipeline: 'invoices' });
      await expect(other.provision(never)).rejects.toThrow(`offset 0 of partition 0 of the topic ${topic} belongs to the pipeline orders`);
      expect(await other.provision(never).catch(codeOf)).toBe('log_foreign');
      expect(text(await found(other), 'KA-013')).toContain('belongs to the pipeline orders');
      await using log = kafkaLog({ brokers: cluster.addresses, topic });
      await log.provision(never);
    });

    async function emptyTopic(topic: string): Promise<void> {
      await using log = kafkaLog({ brokers: cluster.addresses, topic });
      await log.provision(never);
    }
  });

  it('each right that is missing is told with its command, and with these the check is clean', async () => {
    const topic = newTopic();
    await made(topic);
    const passwordFile = join(folder.path, 'limited');
    writeFileSync(passwordFile, 'other');
    const ca = join(folder.path, 'ca.pem');
    writeFileSync(ca, cluster.ca);
    const sasl = { mechanism: 'scram-sha-512', username: 'limited', passwordFile } as const;
    const check = async (): Promise<ReadonlyMap<string, Finding>> => {
      await using log = kafkaLog({ brokers: cluster.secureAddresses, topic, tls: { ca }, sasl });
      return await found(log);
    };
    const allow = async (
      resourceType: kafkajs.AclResourceTypes,
      resourceName: string,
      ...operations: readonly kafkajs.AclOperationTypes[]
    ): Promise<void> => {
      const of = { resourceType, resourceName, resourcePatternType: ResourcePatternTypes.PREFIXED };
      const rule = { principal: 'User:limited', host: '*', permissionType: AclPermissionTypes.ALLOW };
      await withAdmin((admin) => admin.createAcls({ acl: operations.map((operation) => ({ ...of, ...rule, operation })) }));
    };
    expect((await check()).get('KA-002')?.level).toBe('error');
    await allow(AclResourceTypes.TOPIC, topic, AclOperationTypes.DESCRIBE, AclOperationTypes.DESCRIBE_CONFIGS);
    const bare = await check();
    expect(bare.get('KA-002')?.mend.map((line) => line.replace(/.*User:limited /, '').replaceAll(topic, 'T'))).toEqual([
      '--operation Read --topic T --resource-pattern-type prefixed',
      '--operation Write --topic T --resource-pattern-type prefixed',
      '--operation Describe --operation Write --transactional-id T --resource-pattern-type prefixed',
      '--operation Describe --operation Read --group T_warm',
    ]);
    expect(bare.get('KA-004')?.level).toBe('error');
    expect(bare.get('KA-009')?.level).toBe('skipped');
    await allow(AclResourceTypes.TOPIC, topic, AclOperationTypes.READ, AclOperationTypes.WRITE);
    await allow(AclResourceTypes.TRANSACTIONAL_ID, topic, AclOperationTypes.DESCRIBE);
    expect((await check()).get('KA-002')?.mend).toHaveLength(2);
    await allow(AclResourceTypes.TRANSACTIONAL_ID, topic, AclOperationTypes.WRITE);
    await allow(AclResourceTypes.GROUP, `${topic}_warm`, AclOperationTypes.READ);
    expect(levels(await check())).toEqual({ 'KA-009': 'skipped', 'KA-014': 'warning' });
  });
});
