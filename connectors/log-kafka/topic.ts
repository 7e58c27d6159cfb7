import kafkajs, { type Admin } from 'kafkajs';
import { CausewayError } from '#core/errors.ts';
import type { Runtime } from '#core/runtime.ts';
import type { ClientParts, KeptAdmin } from './client.ts';
import { type Config, RECORD_OVERHEAD_BYTES } from './config.ts';
import { codeOfKafkaError, kafkaError } from './errors.ts';
import type { PartitionMetadata } from './kafkajs-internals.ts';
import { type KeptBrokers, TopicBrokers } from './topic-brokers.ts';

const GONE_EVERY_MS = 100;
const GONE_MS = 15_000;

export type Setting = {
  readonly name: string;
  /** What a new topic gets. */
  readonly value: string;
  /** Whether an existing topic may stay as it is. */
  readonly fits: (value: string) => boolean;
};

export type TopicPlan = {
  readonly name: string;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly settings: readonly Setting[];
};

export function exactly(name: string, value: string): Setting {
  return { name, value, fits: (other) => other === value };
}

export function atLeast(name: string, value: number): Setting {
  return { name, value: `${value}`, fits: (other) => Number(other) >= value };
}

/** -1 is no limit. */
function unlimitedOrAtLeast(name: string, value: number): Setting {
  return { name, value: `${value}`, fits: (other) => Number(other) === -1 || Number(other) >= value };
}

/** The topic of the log. It is never compacted, and no election may bring back less than was acknowledged. */
export function logTopic(config: Config): TopicPlan {
  return {
    name: config.topic,
    partitions: config.partitions,
    replicationFactor: config.replicationFactor,
    settings: [
      exactly('cleanup.policy', 'delete'),
      atLeast('min.insync.replicas', config.minInsyncReplicas),
      unlimitedOrAtLeast('retention.ms', config.retention),
      exactly('retention.bytes', '-1'),
      atLeast('max.message.bytes', config.recordBytesMax + RECORD_OVERHEAD_BYTES),
      // A host with a wrong clock could otherwise not write at all, or would have its records kept too long or too short.
      exactly('message.timestamp.type', 'LogAppendTime'),
      exactly('unclean.leader.election.enable', 'false'),
    ],
  };
}

export type TopicParts = { readonly client: ClientParts; readonly admin: KeptAdmin; readonly brokers: KeptBrokers };

/** Makes the topic where it is missing, and checks it otherwise. Errors: `log_partitions_changed`, `log_misconfigured`, `log_permission`. */
export async function provisionTopic(parts: TopicParts, plan: TopicPlan, signal: AbortSignal): Promise<void> {
  const found = await describedTopic(parts.client, plan.name, signal);
  if (found === null) await createTopic(parts, plan, signal);
  else await checkTopic(parts, plan, found, signal);
}

/** As `provisionTopic`, for a topic that must be there. */
export async function checkTopic(
  parts: TopicParts,
  plan: TopicPlan,
  partitions: readonly PartitionMetadata[],
  signal: AbortSignal,
): Promise<void> {
  const brokers = parts.client.config.brokers.join(',');
  if (partitions.length !== plan.partitions) throw partitionsChanged(plan, partitions.length);
  const copies = Math.min(...partitions.map(({ replicas }) => replicas.length));
  if (copies < plan.replicationFactor) {
    const text = `a partition of the topic ${plan.name} has ${copies} copies, and log.replicationFactor asks for ${plan.replicationFactor}`;
    throw new CausewayError('log_misconfigured', `${text}: add some with kafka-reassign-partitions.sh, or lower log.replicationFactor`);
  }
  const values = await parts.admin.use(signal, (admin) => settingsOf(admin, plan.name));
  const wrong = plan.settings.filter(({ name, fits }) => !fits(values.get(name) ?? ''));
  if (wrong.length === 0) return;
  const found = wrong.map(({ name, value }) => `${name} is ${values.get(name) ?? 'not told'} where ${value} is needed`).join(', ');
  const alter = `kafka-configs.sh --bootstrap-server ${brokers} --alter --entity-type topics --entity-name ${plan.name} --add-config ${settingsText(wrong)}`;
  throw new CausewayError('log_misconfigured', `of the topic ${plan.name} ${found}: ${alter}`);
}

/** Null where the topic is not there. */
export async function describedTopic(
  client: ClientParts,
  topic: string,
  signal: AbortSignal,
): Promise<readonly PartitionMetadata[] | null> {
  await using brokers = await TopicBrokers.open(client, signal);
  try {
    await brokers.run(signal, () => brokers.know(topic));
  } catch (error) {
    signal.throwIfAborted();
    if (codeOfKafkaError(error) === 'log_topic_missing') return null;
    throw error;
  }
  return brokers.cluster.findTopicPartitionMetadata(topic);
}

async function createTopic(parts: TopicParts, plan: TopicPlan, signal: AbortSignal): Promise<void> {
  const { name, partitions, replicationFactor, settings } = plan;
  const topic = {
    topic: name,
    numPartitions: partitions,
    replicationFactor,
    configEntries: settings.map((setting) => ({ name: setting.name, value: setting.value })),
  };
  try {
    // Answers false where somebody else was quicker; what they made is checked below.
    await parts.admin.use(signal, (admin) => admin.createTopics({ topics: [topic], waitForLeaders: false }));
  } catch (error) {
    signal.throwIfAborted();
    throw withCommand(parts.client, plan, kafkaError(error));
  }
  // Made, it takes a moment until each partition has a leader that knows it.
  const numbers = Array.from({ length: partitions }, (_none, partition) => partition);
  await parts.brokers.use(signal, (brokers) => brokers.ends(name, numbers));
  const made = await describedTopic(parts.client, name, signal);
  if (made === null) throw new CausewayError('log_topic_missing', `the topic ${name} was made and is gone again`);
  await checkTopic(parts, plan, made, signal);
}

/** Resolves once the brokers show none of the topics any more. */
export async function topicsGone(admin: Admin, topics: readonly string[], runtime: Runtime, signal: AbortSignal): Promise<void> {
  for (let waitedMs = 0; waitedMs < GONE_MS; waitedMs += GONE_EVERY_MS) {
    const left = new Set(await admin.listTopics());
    if (!topics.some((topic) => left.has(topic))) return;
    await runtime.sleep(GONE_EVERY_MS, signal);
  }
  throw new CausewayError('log_unavailable', `the topic ${topics.join(', ')} was removed, and the brokers still show it`);
}

async function settingsOf(admin: Admin, topic: string): Promise<ReadonlyMap<string, string>> {
  const resources = [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic }];
  const described = await admin.describeConfigs({ includeSynonyms: false, resources });
  return new Map(described.resources.flatMap(({ configEntries }) => configEntries.map((entry) => [entry.configName, entry.configValue])));
}

/** A user without the right to make topics has somebody else make it. */
function withCommand(client: ClientParts, plan: TopicPlan, error: CausewayError): CausewayError {
  if (error.code === 'log_unavailable' || error.code === 'log_credentials') return error;
  const settings = plan.settings.map(({ name, value }) => `--config ${name}=${value}`).join(' ');
  const command =
    `kafka-topics.sh --bootstrap-server ${client.config.brokers.join(',')} --create --topic ${plan.name} ` +
    `--partitions ${plan.partitions} --replication-factor ${plan.replicationFactor} ${settings}`;
  return new CausewayError(error.code, `the topic ${plan.name} cannot be made: ${error.message}: ${command}`, { cause: error });
}

function partitionsChanged(plan: TopicPlan, found: number): CausewayError {
  const text = `the topic ${plan.name} has ${found} partitions, and log.partitions says ${plan.partitions}: keys would stand in other partitions`;
  return new CausewayError(
    'log_partitions_changed',
    `${text}. Set log.partitions to ${found}; for another number take a new topic and load again`,
  );
}

function settingsText(settings: readonly Setting[]): string {
  return settings.map(({ name, value }) => `${name}=${value}`).join(',');
}
