import type { Finding } from '#core/finding.ts';
import { finding, type Trouble } from './check-settings.ts';
import type { ClientParts } from './client.ts';
import { brokerErrorType, codeOfKafkaError } from './errors.ts';
import { errorOf, fetchFrom, type ProducerEpoch } from './kafkajs-internals.ts';
import type { KeptBrokers, TopicBrokers } from './topic-brokers.ts';

export type RightsParts = {
  readonly client: ClientParts;
  readonly brokers: KeptBrokers;
  readonly topic: string;
  readonly groups: readonly string[];
};

/** One right: asked for by a request that needs it and has no effect. */
type Probe = {
  readonly what: string;
  /** Of `kafka-acls.sh`. */
  readonly acl: string;
  readonly ask: (brokers: TopicBrokers) => Promise<unknown>;
  /** How a broker answers whoever has the right. */
  readonly answer?: string;
};

/** Of nobody: a broker that knows it does nothing for it. */
const NOBODY: ProducerEpoch = { producerId: '1', producerEpoch: 0 };
const ALL_REPLICAS = -1;
/** No topic has so many. */
const PARTITION_OF_NONE = 2 ** 31 - 1;

/** The rights to a topic that is there, to its groups, and to the producers of dead letters. Errors: those of Kafka, but not `log_permission`. */
export async function rightsFinding(parts: RightsParts, signal: AbortSignal): Promise<Finding> {
  const troubles: Trouble[] = [];
  for (const probe of probesOf(parts)) {
    try {
      await parts.brokers.use(signal, (brokers) => asked(probe, brokers));
    } catch (error) {
      signal.throwIfAborted();
      if (codeOfKafkaError(error) !== 'log_permission') throw error;
      troubles.push({ text: `the user may not ${probe.what}`, mend: command(parts.client, probe.acl) });
    }
  }
  return finding('KA-002', 'error', 'the user has the rights to topic, groups and producers', troubles);
}

/** Idempotence needs a number from the brokers. */
export async function producerFinding(parts: Pick<RightsParts, 'client' | 'brokers' | 'topic'>, signal: AbortSignal): Promise<Finding> {
  const title = 'the brokers number producers, so that records stand in the log once (acks=all, idempotent)';
  try {
    await parts.brokers.use(signal, async (brokers) => {
      const leader = await brokers.leader(parts.topic, 0);
      await leader.initProducerId({ transactionalId: null, transactionTimeout: 1_000 });
    });
    return finding('KA-004', 'error', title, []);
  } catch (error) {
    signal.throwIfAborted();
    if (codeOfKafkaError(error) !== 'log_permission') throw error;
    const mend = command(parts.client, '--operation IdempotentWrite --cluster');
    return finding('KA-004', 'error', title, [{ text: 'the user may not be an idempotent producer', mend }]);
  }
}

async function asked({ ask, answer }: Probe, brokers: TopicBrokers): Promise<void> {
  try {
    await ask(brokers);
  } catch (error) {
    if (answer === undefined || brokerErrorType(error) !== answer) throw error;
  }
}

function probesOf({ topic, groups }: RightsParts): readonly Probe[] {
  const onTopic = `--topic ${topic} --resource-pattern-type prefixed`;
  const transactionalId = `${topic}.check`;
  return [
    {
      what: `read the topic ${topic}`,
      acl: `--operation Read ${onTopic}`,
      ask: async (brokers) => {
        const from = (await brokers.ends(topic, [0])).get(0)?.end ?? 0;
        const leader = await brokers.leader(topic, 0);
        const { partitions: answers } = await fetchFrom(leader, {
          topic,
          partitions: [{ partition: 0, epoch: brokers.epoch(topic, 0), from, bytesMax: 1 }],
          waitMs: 0,
          bytesMax: 1,
        });
        const code = answers[0]?.errorCode ?? 0;
        if (code !== 0) throw errorOf(code);
      },
    },
    {
      what: `write the topic ${topic}`,
      acl: `--operation Write ${onTopic}`,
      // Into a partition that is not there: rights are looked at first.
      answer: 'UNKNOWN_TOPIC_OR_PARTITION',
      ask: async (brokers) => {
        const leader = await brokers.leader(topic, 0);
        const messages = [{ key: Buffer.from('check'), value: null }];
        const topicData = [{ topic, partitions: [{ partition: PARTITION_OF_NONE, firstSequence: 0, messages }] }];
        const unnumbered = { producerId: '-1', producerEpoch: -1 };
        await leader.produce({ ...unnumbered, acks: ALL_REPLICAS, timeout: 1_000, compression: 0, topicData });
      },
    },
    {
      what: `write dead letters under an epoch (transactional ids that begin with ${topic})`,
      acl: `--operation Describe --operation Write --transactional-id ${topic} --resource-pattern-type prefixed`,
      answer: 'INVALID_PRODUCER_ID_MAPPING',
      ask: async (brokers) => {
        const coordinator = await brokers.coordinator({ name: transactionalId, of: 'producer', topic });
        await coordinator.endTxn({ ...NOBODY, transactionalId, transactionResult: false });
      },
    },
    ...groups.map((groupId): Probe => ({
      what: `read with the consumer group ${groupId}`,
      acl: `--operation Describe --operation Read --group ${groupId}`,
      answer: 'UNKNOWN_MEMBER_ID',
      ask: async (brokers) => {
        const coordinator = await brokers.coordinator({ name: groupId, of: 'group', topic });
        await coordinator.heartbeat({ groupId, memberId: 'check', groupGenerationId: 0 });
      },
    })),
  ];
}

function command({ config }: Pick<ClientParts, 'config'>, acl: string): string {
  const principal = config.sasl?.username ?? 'NAME';
  return `kafka-acls.sh --bootstrap-server ${config.brokers.join(',')} --add --allow-principal User:${principal} ${acl}`;
}
