// A broker that led, and has not heard that another one leads now: it hung for a while, or the controllers do not reach it. It answers as
// before, with the end of what it led.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import type { Log } from '#core/log.ts';
import type { Config } from '../../connectors/log-kafka/config.ts';
import { brokerErrorType } from '../../connectors/log-kafka/errors.ts';
import { offsetsAt } from '../../connectors/log-kafka/requests.ts';
import { TopicBrokers } from '../../connectors/log-kafka/topic-brokers.ts';
import { codeRejected, never, readAll, record } from '../contract/log-support.ts';
import { type KafkaBroker, KafkaCluster } from '../support/kafka-cluster.ts';
import { Follower } from '../support/kafka-follower.ts';
import { kafkaLog, newTopic } from '../support/kafka-log.ts';
import { describeOwn } from '../support/services.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { realRuntime } from '../support/test-runtime.ts';

/** Cluster and restart, on a machine that has other work. */
const START_MS = 300_000;

/** From now on the broker reaches the other controllers only through these. As it starts anew, it is not the one that decides. */
async function behindProxies(broker: KafkaBroker): Promise<readonly TcpProxy[]> {
  const settings = readFileSync(`/proc/${present(broker.pid, 'a process')}/cwd/server.properties`, 'utf8');
  const voters = present(/^controller\.quorum\.voters=(.*)$/m.exec(settings)?.[1], 'voters').split(',');
  const proxies: TcpProxy[] = [];
  const seen: string[] = [];
  for (const voter of voters) {
    const [id, port] = [voter.split('@')[0], Number(voter.split(':')[1])];
    if (id === String(broker.id)) {
      seen.push(voter);
      continue;
    }
    const proxy = await TcpProxy.create({ host: '127.0.0.1', port });
    proxies.push(proxy);
    seen.push(`${id}@127.0.0.1:${proxy.port}`);
  }
  broker.configure({ 'controller.quorum.voters': seen.join(',') });
  await broker.restart();
  return proxies;
}

describeOwn('kafka', 'a broker that has not heard that another one leads', () => {
  const topic = newTopic();
  let cluster: KafkaCluster;
  /** As it is once the proxies let nothing through. */
  let stale: KafkaBroker;
  let proxies: readonly TcpProxy[] = [];

  beforeAll(async () => {
    // A machine that is slow for a moment must not change who leads, and what it changes is put right at once.
    const settings = { 'broker.session.timeout.ms': '9000', 'leader.imbalance.check.interval.seconds': '1' };
    cluster = await KafkaCluster.create({ brokers: 3, settings });
    stale = present(cluster.brokers[0], 'a broker');
    proxies = await behindProxies(stale);
  }, START_MS);

  afterAll(async () => {
    await cluster.dispose();
    for (const proxy of proxies) await proxy[Symbol.asyncDispose]();
  });

  function logBy(brokers: readonly KafkaBroker[], over: Partial<Config> = {}): Log {
    const safe = { partitions: 3, replicationFactor: 3, minInsyncReplicas: 2 };
    return kafkaLog({ brokers: brokers.map(({ address }) => address), topic, ...safe, ...over });
  }

  /** Of three, it is the first choice for one. */
  async function ledByStale(): Promise<number> {
    for (let partition = 0; ; partition = (partition + 1) % 3) {
      if ((await cluster.leaderOf(topic, partition)) === stale) return partition;
    }
  }

  /** What the broker answers by itself to who asks in that epoch. */
  async function endTold(partition: number, epoch: number): Promise<unknown> {
    const config = { brokers: [stale.address], requestTimeout: 5_000, connectTimeout: 5_000 };
    await using brokers = await TopicBrokers.open({ config, clientId: 't', runtime: realRuntime(), logger: silentLogger }, never);
    await brokers.cluster.addTargetTopic(topic);
    const broker = await brokers.cluster.findBroker({ nodeId: stale.id });
    const told = offsetsAt(broker, { topic, partitions: [{ partition, epoch }], timestamp: -1 });
    return await told.then((ends) => ends.get(partition), brokerErrorType);
  }

  test('is not believed: neither ends nor records are short, and who follows it goes over to the other', async () => {
    await using log = logBy(cluster.brokers, { sessionTimeout: 30_000 });
    await log.provision(never);
    const partition = await ledByStale();
    const follower = await Follower.start(log);
    const others = cluster.brokers.filter((broker) => broker !== stale);
    await using byOthers = logBy(others);
    const endBy = async (one: Log): Promise<number> => present((await one.ends(never))[partition], 'ends').end;
    const append = async (text: string): Promise<void> => {
      await using writer = await byOthers.writer(never);
      await writer.append([record(partition, text)], never);
    };
    await append('a');
    await follower.until(() => follower.texts(partition).length > 0);
    const ledUpTo = await endBy(log);

    for (const proxy of proxies) proxy.strike({ tag: 'black hole', direction: 'to the server' });
    let leader: KafkaBroker | undefined = stale;
    while (leader === undefined || leader === stale) leader = await cluster.leaderOf(topic, partition);
    await append('b');
    await append('c');

    expect(await endTold(partition, -1)).toBe(ledUpTo);
    expect(await endTold(partition, 1_000)).toBe('UNKNOWN_LEADER_EPOCH');
    await using byStale = logBy([stale]);
    const end = await endBy(byOthers);
    expect(end).toBeGreaterThanOrEqual(ledUpTo + 2);
    expect(await endBy(byStale)).toBe(end);
    const found = await readAll(byStale, partition);
    expect(found.map(({ offset }) => offset)).toEqual(Array.from({ length: end }, (_none, offset) => offset));
    await follower.until(() => follower.texts(partition).length >= end);
    // What stands there twice, a producer sent twice.
    expect([...new Set(follower.texts(partition))]).toEqual(['a', 'b', 'c']);
    await follower[Symbol.asyncDispose]();

    // Alone it could not know of a successor.
    for (const other of others) other.pause();
    expect(await codeRejected(byStale.ends(never))).toBe('log_unavailable');
    for (const other of others) other.resume();
  });
});
