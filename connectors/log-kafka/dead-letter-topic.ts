import { CausewayError } from '#core/errors.ts';
import { type Config, RECORD_OVERHEAD_BYTES } from './config.ts';
import { atLeast, checkTopic, describedTopic, exactly, provisionTopic, type TopicParts, type TopicPlan } from './topic.ts';

/** As many partitions as the log, each for the same keys, so that whoever has the one writes the other. */
export function deadLetterPlan(config: Config, name: string): TopicPlan {
  return {
    name,
    partitions: config.partitions,
    replicationFactor: config.replicationFactor,
    settings: [
      exactly('cleanup.policy', 'compact'),
      atLeast('min.insync.replicas', config.minInsyncReplicas),
      // A record of the log, and beside it why it was parked.
      atLeast('max.message.bytes', config.recordBytesMax + 2 * RECORD_OVERHEAD_BYTES),
      exactly('message.timestamp.type', 'LogAppendTime'),
      exactly('unclean.leader.election.enable', 'false'),
    ],
  };
}

/** Made only while the sink is new. Errors: `log_offset_gone`, and those of `provisionTopic`. */
export async function prepareDeadLetters(
  parts: TopicParts,
  { plan, known }: { readonly plan: TopicPlan; readonly known: boolean },
  signal: AbortSignal,
): Promise<void> {
  if (!known) {
    await provisionTopic(parts, plan, signal);
    return;
  }
  const found = await describedTopic(parts.client, plan.name, signal);
  if (found !== null) {
    await checkTopic(parts, plan, found, signal);
    return;
  }
  throw new CausewayError(
    'log_offset_gone',
    `the topic ${plan.name} is missing, and with it which keys of the sink are parked: a change of such a key would be lost`,
  );
}
