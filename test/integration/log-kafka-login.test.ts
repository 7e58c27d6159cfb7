// Logging in to a real broker over TLS, by each mechanism that it can have without a server for tokens, and what it refuses.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import kafkajs, { Kafka, logLevel } from 'kafkajs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { codeOf } from '#core/errors.ts';
import { assignmentOf, letter, never, progressAt, readAll } from '../contract/log-support.ts';
import { createAuthority } from '../support/certificates.ts';
import { KafkaCluster } from '../support/kafka-cluster.ts';
import { kafkaLog, newTopic } from '../support/kafka-log.ts';
import { describeOwn } from '../support/services.ts';
import { tempFolder, type TempFolder } from '../support/temp-folder.ts';
import type { SaslConfig, TlsConfig } from '../../connectors/log-kafka/authentication-config.ts';

const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs;

const users = [
  { name: 'causeway', password: 'right-1' },
  { name: 'stranger', password: 'other' },
];

describeOwn('kafka', 'logging in to Kafka', () => {
  let cluster: KafkaCluster;
  let folder: TempFolder;
  let tls: TlsConfig;

  beforeAll(async () => {
    const settings = {
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      'super.users': 'User:ANONYMOUS;User:causeway',
    };
    cluster = await KafkaCluster.create({ users, settings });
    folder = tempFolder();
    tls = { ca: file('ca.pem', cluster.ca) };
  });
  afterAll(async () => {
    await cluster.dispose();
    folder[Symbol.dispose]();
  });

  function file(name: string, text: string): string {
    const path = join(folder.path, name);
    writeFileSync(path, text);
    return path;
  }

  function logAs(sasl: SaslConfig, over: { readonly tls?: TlsConfig; readonly topic?: string } = {}) {
    return kafkaLog({
      brokers: cluster.secureAddresses,
      topic: newTopic(),
      tls,
      sasl,
      requestTimeout: 2_000,
      connectTimeout: 2_000,
      ...over,
    });
  }

  const login = (mechanism: SaslConfig['mechanism'], password = 'right-1', username = 'causeway'): SaslConfig => ({
    mechanism,
    username,
    passwordFile: file(`${mechanism}.${username}`, `${password}\n`),
  });

  it.each(['scram-sha-256', 'scram-sha-512', 'plain'] as const)('%s writes and reads', async (mechanism) => {
    await using log = logAs(login(mechanism));
    await log.provision(never);
    await using writer = await log.writer(never);
    await writer.append([{ partition: 0, key: null, value: Buffer.from('a') }], never);
    expect(await readAll(log, 0)).toHaveLength(1);
  });

  it.each(['scram-sha-256', 'scram-sha-512', 'plain'] as const)('%s with a wrong password is refused', async (mechanism) => {
    await using log = logAs(login(mechanism, 'wrong'));
    expect(await log.provision(never).catch(codeOf)).toBe('log_credentials');
    expect(await log.ends(never).catch(codeOf)).toBe('log_credentials');
  });

  it('a mechanism that the broker does not have, and a file that is not there, are matters of credentials', async () => {
    await using other = logAs({ mechanism: 'oauthbearer', tokenFile: file('token', 'T0K') });
    expect(await other.provision(never).catch(codeOf)).toBe('log_credentials');
    await using none = logAs({ mechanism: 'plain', username: 'causeway', passwordFile: join(folder.path, 'none') });
    expect(await none.provision(never).catch(codeOf)).toBe('log_credentials');
  });

  it('a password that is refused ends an append, and a corrected one is read without anything being made anew', async () => {
    const sasl = login('scram-sha-512');
    const topic = newTopic();
    await using log = logAs(sasl, { topic });
    await log.provision(never);
    const writer = await log.writer(never);
    login('scram-sha-512', 'wrong');
    const failed = writer.append([{ partition: 0, key: null, value: Buffer.from('a') }], never);
    expect(await failed.catch(codeOf)).toBe('log_credentials');
    login('scram-sha-512');
    await using next = await log.writer(never);
    expect(await next.append([{ partition: 0, key: null, value: Buffer.from('a') }], never)).toEqual(new Map([[0, 0]]));
  });

  it('a certificate of an authority that is not trusted is refused, and so is a broker that has no TLS', async () => {
    const stranger = createAuthority('somebody else');
    await using untrusted = logAs(login('plain'), { tls: { ca: file('other.pem', stranger.cert) } });
    expect(await untrusted.provision(never).catch(codeOf)).toBe('log_credentials');
    await using unknown = logAs(login('plain'), { tls: {} });
    expect(await unknown.provision(never).catch(codeOf)).toBe('log_credentials');
    await using plain = kafkaLog({ brokers: cluster.addresses, topic: newTopic(), tls, requestTimeout: 2_000, connectTimeout: 2_000 });
    expect(['log_credentials', 'log_unavailable']).toContain(await plain.provision(never).catch(codeOf));
  });

  it('a user without rights is told which, for a topic that is there and for one that is not', async () => {
    const topic = newTopic();
    await using owner = logAs(login('plain'), { topic });
    await owner.provision(never);
    await using stranger = logAs(login('plain', 'other', 'stranger'), { topic });
    expect(await stranger.provision(never).catch(codeOf)).toBe('log_permission');
    expect(await stranger.writer(never).catch(codeOf)).toBe('log_permission');
    await using nothing = logAs(login('plain', 'other', 'stranger'));
    expect(await nothing.provision(never).catch(codeOf)).toBe('log_permission');
  });

  it('a user with the rights of docs/privileges.md, and no others, makes, writes, reads and removes the log', async () => {
    const topic = newTopic();
    const own = { principal: 'User:stranger', host: '*', permissionType: AclPermissionTypes.ALLOW };
    const prefixed = { ...own, resourceName: topic, resourcePatternType: ResourcePatternTypes.PREFIXED };
    const { DESCRIBE, DESCRIBE_CONFIGS, READ, WRITE, CREATE, DELETE } = AclOperationTypes;
    const acl = [
      ...[DESCRIBE, DESCRIBE_CONFIGS, READ, WRITE, CREATE, DELETE].map((operation) => ({
        ...prefixed,
        resourceType: AclResourceTypes.TOPIC,
        operation,
      })),
      ...[DESCRIBE, READ, DELETE].map((operation) => ({ ...prefixed, resourceType: AclResourceTypes.GROUP, operation })),
      ...[DESCRIBE, WRITE].map((operation) => ({ ...prefixed, resourceType: AclResourceTypes.TRANSACTIONAL_ID, operation })),
    ];
    const admin = new Kafka({ brokers: cluster.addresses, logLevel: logLevel.NOTHING }).admin();
    await admin.connect();
    await admin.createAcls({ acl });
    await admin.disconnect();
    await using log = logAs(login('plain', 'other', 'stranger'), { topic });
    await log.provision(never);
    await log.prepareConsumer('warm', { known: false }, never);
    const writer = await log.writer(never);
    await writer.append([{ partition: 0, key: null, value: Buffer.from('a') }], never);
    expect(await readAll(log, 0)).toHaveLength(1);
    await (await log.deadLetters('warm').take(0, never)).park([letter('["t","1"]')], never);
    const assignment = await assignmentOf(log, 'warm', 0);
    await assignment.commit(progressAt(1, [7, 1]), never);
    expect(await assignment.committed(never)).toEqual(progressAt(1, [7, 1]));
    await using other = logAs(login('plain', 'other', 'stranger'), { topic });
    expect(await log.remove('warm', never).catch(codeOf)).toBe('refused');
    await log[Symbol.asyncDispose]();
    expect(await other.remove(null, never)).toEqual([`consumer group ${topic}_warm`, `topic ${topic}`, `topic ${topic}.warm.dead`]);
  });
});
