import type { Admin } from 'kafkajs';
import type { Runtime } from '#core/runtime.ts';
import { topicsGone } from './topic.ts';

export type Names = { readonly topic: string; readonly groupPrefix: string };

/** As the configuration allows for the name of a sink. */
const SINK = /^[a-z][a-z0-9_]*$/;

export function deadLetterTopic(topic: string, sink: string): string {
  return `${topic}.${sink}.dead`;
}

export function groupOf(groupPrefix: string, sink: string): string {
  return `${groupPrefix}_${sink}`;
}

/** Frees what the pipeline, or with `consumer` one sink, has. Groups go first: one with a member refuses, and nothing is lost then. */
export async function removeFromKafka(
  admin: Admin,
  input: { readonly names: Names; readonly consumer: string | null; readonly runtime: Runtime },
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { names, consumer, runtime } = input;
  // Brokers tell them in any order.
  const all = (await admin.listTopics()).sort();
  const topics = all.filter((topic) =>
    consumer === null ? topic === names.topic || isDeadLetterTopic(names.topic, topic) : topic === deadLetterTopic(names.topic, consumer),
  );
  const groups = await groupsWith(admin, { names, consumer, hasTopic: all.includes(names.topic) });
  if (groups.length > 0) await admin.deleteGroups([...groups]);
  if (topics.length > 0) {
    await admin.deleteTopics({ topics });
    await topicsGone(admin, topics, runtime, signal);
  }
  return [...groups.map((group) => `consumer group ${group}`), ...topics.map((topic) => `topic ${topic}`)];
}

function isDeadLetterTopic(topic: string, other: string): boolean {
  const middle = other.startsWith(`${topic}.`) && other.endsWith('.dead') ? other.slice(topic.length + 1, -'.dead'.length) : '';
  return SINK.test(middle);
}

/**
 * Of the whole pipeline only groups that stored progress in its topic: the name of another pipeline can begin like this one's, and its
 * groups with it.
 */
async function groupsWith(
  admin: Admin,
  input: { readonly names: Names; readonly consumer: string | null; readonly hasTopic: boolean },
): Promise<readonly string[]> {
  const { names, consumer, hasTopic } = input;
  const { groups } = await admin.listGroups();
  const ids = groups.map(({ groupId }) => groupId);
  if (consumer !== null) return ids.filter((id) => id === groupOf(names.groupPrefix, consumer));
  const found: string[] = [];
  for (const id of ids.filter((one) => one.startsWith(groupOf(names.groupPrefix, '')))) {
    if (!hasTopic || !SINK.test(id.slice(names.groupPrefix.length + 1))) continue;
    const offsets = await admin.fetchOffsets({ groupId: id, topics: [names.topic] });
    if (offsets.some(({ partitions }) => partitions.some(({ offset }) => Number(offset) >= 0))) found.push(id);
  }
  return found;
}
