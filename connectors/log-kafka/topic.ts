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
  if (partitions.length !== plan.partitions) throw partitionsChanged(plan, partitions.length);
  const few = tooFewCopies(plan, partitions);
  if (few !== null) throw new CausewayError('log_misconfigured', `${few.text}: ${few.mend}`);
  const values = await parts.admin.use(signal, (admin) => settingsOf(admin, plan.name));
  const wrong = wrongSettings(plan, values);
  if (wrong.length === 0) return;
  const alter = alterCommand(parts.client, plan, wrong);
  throw new CausewayError('log_misconfigured', `of the topic ${plan.name} ${wrong.map(({ text }) => text).join(', ')}: ${alter}`);
}

/** What a topic lacks, for people, with what mends it. */
export type TopicTrouble = { readonly text: string; readonly mend: string };

export function tooFewCopies(plan: TopicPlan, partitions: readonly PartitionMetadata[]): TopicTrouble | null {
  const copies = Math.min(...partitions.map(({ replicas }) => replicas.length));
  if (copies >= plan.replicationFactor) return null;
  return {
    text: `a partition of the topic ${plan.name} has ${copies} copies, and log.replicationFactor asks for ${plan.replicationFactor}`,
    mend: 'add some with kafka-reassign-partitions.sh, or lower log.replicationFactor',
  };
}

export type WrongSetting = { readonly setting: Setting; readonly text: string };

export function wrongSettings({ settings }: Pick<TopicPlan, 'settings'>, values: ReadonlyMap<string, string>): readonly WrongSetting[] {
  return settings
    .filter(({ name, fits }) => !fits(values.get(name) ?? ''))
    .map((setting) => ({
      setting,
      text: `${setting.name} is ${values.get(setting.name) ?? 'not told'} where ${setting.value} is needed`,
    }));
}

export function alterCommand({ config }: Pick<ClientParts, 'config'>, { name }: TopicPlan, wrong: readonly WrongSetting[]): string {
  const settings = settingsText(wrong.map(({ setting }) => setting));
  return `kafka-configs.sh --bootstrap-server ${config.brokers.join(',')} --alter --entity-type topics --entity-name ${name} --add-config ${settings}`;
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
  const { name, partitions } = plan;
  await askForTopic(parts, { plan, validateOnly: false }, signal);
  // Made, it takes a moment until each partition has a leader that knows it.
  const numbers = Array.from({ length: partitions }, (_none, partition) => partition);
  await parts.brokers.use(signal, (brokers) => brokers.ends(name, numbers));
  const made = await describedTopic(parts.client, name, signal);
  if (made === null) throw new CausewayError('log_topic_missing', `the topic ${name} was made and is gone again`);
  await checkTopic(parts, plan, made, signal);
}

/** With `validateOnly` it is only found out whether it could be made. Errors: with the command that makes it. */
export async function askForTopic(
  { client, admin }: Pick<TopicParts, 'client' | 'admin'>,
  { plan, validateOnly }: { readonly plan: TopicPlan; readonly validateOnly: boolean },
  signal: AbortSignal,
): Promise<void> {
  const topic = {
    topic: plan.name,
    numPartitions: plan.partitions,
    replicationFactor: plan.replicationFactor,
    configEntries: plan.settings.map((setting) => ({ name: setting.name, value: setting.value })),
  };
  try {
    // Answers false where somebody else was quicker; what they made is checked then.
    await admin.use(signal, (one) => one.createTopics({ topics: [topic], waitForLeaders: false, validateOnly }));
  } catch (error) {
    signal.throwIfAborted();
    throw withCommand(client, plan, kafkaError(error));
  }
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

export async function settingsOf(admin: Admin, topic: string): Promise<ReadonlyMap<string, string>> {
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
