import kafkajs from 'kafkajs';
import { CausewayError, codeOf, policyFor } from '#core/errors.ts';
import type { Finding } from '#core/finding.ts';
import type { LogExpectation } from '#core/log.ts';
import { producerFinding, rightsFinding } from './check-rights.ts';
import {
  clockFinding,
  deadLetterTroubles,
  type DescribedTopic,
  finding,
  offsetsFinding,
  ownerFinding,
  safetyFinding,
  skipped,
  topicFindings,
  type Trouble,
} from './check-settings.ts';
import type { Config } from './config.ts';
import { deadLetterPlan } from './dead-letter-topic.ts';
import { kafkaError } from './errors.ts';
import { topicEdges } from './owner.ts';
import { deadLetterTopic, groupOf } from './remove.ts';
import { askForTopic, describedTopic, logTopic, settingsOf, type TopicParts, type TopicPlan } from './topic.ts';
import { TopicBrokers } from './topic-brokers.ts';

export type CheckParts = TopicParts & { readonly config: Config; readonly pipeline: string; readonly groupPrefix: string };

/** Looks at brokers, rights, topics and clocks. No record, topic or offset is written, and no member of a group notices. */
export async function checkKafka(parts: CheckParts, expected: LogExpectation, signal: AbortSignal): Promise<readonly Finding[]> {
  const { client, config, brokers, pipeline, groupPrefix } = parts;
  const reached = await reachFinding(parts, signal);
  if (reached.findings.some(({ level }) => level === 'error') && !reached.answered) return reached.findings;
  const plan = logTopic(config);
  const topic = await described(parts, plan, signal);
  const head = [...reached.findings, safetyFinding(config)];
  if (topic === null) return [...head, await missingFinding(parts, { plan, started: expected.started }, signal)];
  if (topic instanceof CausewayError) return [...head, permissionFinding(topic)];
  const groups = expected.consumers.map(({ name }) => groupOf(groupPrefix, name));
  const rights = await rightsFinding({ client, brokers, topic: config.topic, groups }, signal);
  const settings = topicFindings(client, topic);
  const rest = [
    await producerFinding({ client, brokers, topic: config.topic }, signal),
    await deadLettersFinding(parts, expected, signal),
    offsetsFinding(await offsetsMinutes(parts, topic, signal), config),
  ];
  // What follows reads records.
  if (rights.level === 'error') return [...head, rights, ...settings, ...rest];
  const edges = await topicEdges(brokers, { topic: config.topic, partitions: topic.partitions.length }, signal);
  const owner = ownerFinding(edges, { topic: config.topic, pipeline });
  return [...head, rights, ...settings, ...rest, clockFinding(edges, client.runtime.wallMs()), owner];
}

/** Each address of the configuration, and each that the brokers name as their own: what is behind a wrong one is reached by nobody. */
async function reachFinding(
  { client, config }: CheckParts,
  signal: AbortSignal,
): Promise<{ readonly findings: readonly Finding[]; readonly answered: boolean }> {
  const answers = await Promise.all(
    config.brokers.map(async (address): Promise<readonly Trouble[]> => {
      try {
        const parts = { ...client, config: { ...config, brokers: [address] } };
        await using broker = await TopicBrokers.open(parts, signal);
        return await advertised(broker, address, signal);
      } catch (error) {
        signal.throwIfAborted();
        return [unreached(`${address} of log.brokers`, error)];
      }
    }),
  );
  const troubles = answers.flat();
  const finds = [...new Map(troubles.map((trouble) => [trouble.text, trouble])).values()];
  const answered = answers.some((found, index) => !found.some(({ text }) => text.startsWith(`${config.brokers[index] ?? ''} of`)));
  return { findings: [finding('KA-001', 'error', 'every broker can be reached, and takes the login', finds)], answered };
}

async function advertised(brokers: TopicBrokers, address: string, signal: AbortSignal): Promise<readonly Trouble[]> {
  const troubles: Trouble[] = [];
  await brokers.run(signal, () => brokers.cluster.refreshMetadata());
  for (const nodeId of brokers.cluster.getNodeIds()) {
    try {
      await brokers.run(signal, () => brokers.cluster.findBroker({ nodeId }));
    } catch (error) {
      signal.throwIfAborted();
      troubles.push(unreached(`broker ${nodeId}, at the address that it names itself to ${address},`, error));
    }
  }
  return troubles;
}

function unreached(what: string, error: unknown): Trouble {
  const { code, message } = kafkaError(error);
  return { text: `${what}: ${code}: ${message}`, mend: policyFor(code).mend };
}

/** Null where the topic is not there; the error where the user may not see it. */
async function described(parts: CheckParts, plan: TopicPlan, signal: AbortSignal): Promise<DescribedTopic | CausewayError | null> {
  try {
    const partitions = await describedTopic(parts.client, plan.name, signal);
    if (partitions === null) return null;
    const values = await parts.admin.use(signal, (admin) => settingsOf(admin, plan.name));
    return { plan, partitions, values };
  } catch (error) {
    if (codeOf(error) !== 'log_permission') throw error;
    return error as CausewayError;
  }
}

function permissionFinding(error: CausewayError): Finding {
  const trouble = { text: error.message, mend: policyFor(error.code).mend };
  return finding('KA-002', 'error', 'the user has the rights to topic, groups and producers', [trouble]);
}

async function missingFinding(
  parts: CheckParts,
  { plan, started }: { readonly plan: TopicPlan; readonly started: boolean | null },
  signal: AbortSignal,
): Promise<Finding> {
  const title = `the topic ${plan.name} is there, or can be made`;
  if (started === true) {
    const text = 'it was there when the pipeline started, and is not, or the user may not see it: its records are lost';
    return finding('KA-010', 'error', title, [{ text, mend: policyFor('log_topic_missing').mend }]);
  }
  try {
    await askForTopic(parts, { plan, validateOnly: true }, signal);
    const made = `the topic ${plan.name} is made when the pipeline first starts: what it has to be is looked at then`;
    return started === null ? skipped('KA-010', `${made}; whether it was lost only the control store knows`) : skipped('KA-010', made);
  } catch (error) {
    signal.throwIfAborted();
    const { message } = kafkaError(error);
    const command = message.slice(message.indexOf('kafka-topics.sh'));
    return finding('KA-010', 'error', title, [{ text: message.slice(0, message.indexOf(': kafka-topics.sh')), mend: command }]);
  }
}

async function deadLettersFinding(parts: CheckParts, { consumers }: LogExpectation, signal: AbortSignal): Promise<Finding> {
  const troubles: Trouble[] = [];
  let missing = 0;
  for (const { name, known } of consumers) {
    const plan = deadLetterPlan(parts.config, deadLetterTopic(parts.config.topic, name));
    const topic = await described(parts, plan, signal);
    if (topic instanceof CausewayError) troubles.push({ text: topic.message, mend: policyFor(topic.code).mend });
    else if (topic !== null) troubles.push(...deadLetterTroubles(parts.client, topic));
    else if (known)
      troubles.push({
        text: `the topic ${plan.name} is missing, and with it which keys are parked`,
        mend: policyFor('log_offset_gone').mend,
      });
    else missing += 1;
  }
  if (troubles.length > 0 || missing === 0) return finding('KA-010', 'error', 'each sink has its topic for dead letters', troubles);
  return skipped('KA-010', 'topics for dead letters: each is made when its sink first starts');
}

/** Null where the user may not see it. */
async function offsetsMinutes({ admin }: CheckParts, { partitions }: DescribedTopic, signal: AbortSignal): Promise<string | null> {
  const leader = partitions.find((partition) => partition.leader >= 0)?.leader;
  if (leader === undefined) return null;
  try {
    const resources = [{ type: kafkajs.ConfigResourceTypes.BROKER, name: `${leader}`, configNames: ['offsets.retention.minutes'] }];
    const answer = await admin.use(signal, (one) => one.describeConfigs({ includeSynonyms: false, resources }));
    return answer.resources[0]?.configEntries[0]?.configValue ?? null;
  } catch (error) {
    if (codeOf(error) !== 'log_permission') throw error;
    return null;
  }
}
