import type { Finding } from '#core/finding.ts';
import type { ClientParts } from './client.ts';
import type { Config } from './config.ts';
import type { PartitionMetadata } from './kafkajs-internals.ts';
import { foreignEdge, type Edge } from './owner.ts';
import { alterCommand, tooFewCopies, wrongSettings, type TopicPlan } from './topic.ts';

/** A topic that is there, as the brokers describe it. */
export type DescribedTopic = {
  readonly plan: TopicPlan;
  readonly partitions: readonly PartitionMetadata[];
  readonly values: ReadonlyMap<string, string>;
};

export type Trouble = { readonly text: string; readonly mend?: string | undefined };

/** With fewer a record is lost, or nothing can be written, when one broker is. */
const COPIES_SAFE = 3;
const IN_SYNC_SAFE = 2;
const HOUR_MS = 3_600_000;
/** A night and the day that it takes to bring something back, twice. */
const RETENTION_SAFE_MS = 48 * HOUR_MS;
const SKEW_MS_MAX = 500;

export function finding(id: string, level: 'error' | 'warning', title: string, troubles: readonly Trouble[]): Finding {
  const mend = new Set(troubles.flatMap((trouble) => trouble.mend ?? []));
  return { id, level: troubles.length === 0 ? 'ok' : level, title, details: troubles.map(({ text }) => text), mend: [...mend] };
}

/** What `provision` refuses, by what it endangers; pure. */
export function topicFindings(client: Pick<ClientParts, 'config'>, topic: DescribedTopic): readonly Finding[] {
  const { plan, partitions } = topic;
  const about = (...names: readonly string[]): readonly Trouble[] => settingTroubles(client, topic, names);
  const copies = [...copyTroubles(topic), ...about('min.insync.replicas', 'unclean.leader.election.enable')];
  const changed =
    partitions.length === plan.partitions
      ? []
      : [
          {
            text: `the topic has ${partitions.length}, and log.partitions says ${plan.partitions}: keys would stand in other partitions`,
            mend: `Set log.partitions to ${partitions.length}. For another number take a new topic and load again: docs/resync.md.`,
          },
        ];
  return [
    finding('KA-003', 'error', 'copies and elections keep what was acknowledged', copies),
    finding(
      'KA-005',
      'error',
      'records are kept for `log.retention`, and only age removes them',
      about('retention.ms', 'retention.bytes', 'cleanup.policy'),
    ),
    finding('KA-006', 'error', 'the topic takes a record of `log.recordBytesMax`', about('max.message.bytes')),
    finding('KA-007', 'error', 'the number of partitions is that of `log.partitions`', changed),
    finding('KA-008', 'error', 'the brokers give records their time', about('message.timestamp.type')),
  ];
}

/** What is allowed and seldom meant; pure. */
export function safetyFinding(config: Pick<Config, 'replicationFactor' | 'minInsyncReplicas' | 'retention'>): Finding {
  const troubles: Trouble[] = [];
  if (config.replicationFactor < COPIES_SAFE || config.minInsyncReplicas < IN_SYNC_SAFE) {
    const text = `log.replicationFactor is ${config.replicationFactor} and log.minInsyncReplicas ${config.minInsyncReplicas}: losing one broker loses records that the source has forgotten, or stops the pipeline`;
    troubles.push({ text, mend: `Use ${COPIES_SAFE} and ${IN_SYNC_SAFE}, and at least ${COPIES_SAFE} brokers, for anything real.` });
  }
  if (config.retention < RETENTION_SAFE_MS) {
    const text = `log.retention is ${hours(config.retention)}: a sink that is away for longer has to be loaded again`;
    troubles.push({ text, mend: 'Set it to at least twice the longest outage of a sink that has to be survived.' });
  }
  const title = `the log survives the loss of a broker, and an outage of a sink of ${hours(config.retention / 2)} with as much to spare`;
  return finding('KA-014', 'warning', title, troubles);
}

export function deadLetterTroubles(client: Pick<ClientParts, 'config'>, topic: DescribedTopic): readonly Trouble[] {
  const { plan, partitions } = topic;
  const names = plan.settings.map(({ name }) => name);
  const found = [...copyTroubles(topic), ...settingTroubles(client, topic, names)];
  if (partitions.length === plan.partitions) return found;
  return [{ text: `the topic ${plan.name} has ${partitions.length} partitions, and the log ${plan.partitions}` }, ...found];
}

/** Stored offsets that the brokers forget cost nothing but what Kafka's tools show: a sink starts from its own progress. */
export function offsetsFinding(minutes: string | null, { retention }: Pick<Config, 'retention'>): Finding {
  const title = 'the brokers keep offsets of a group that stands still for as long as the records';
  if (minutes === null) return skipped('KA-009', `${title}: the user may not see the settings of brokers`);
  if (Number(minutes) * 60_000 >= retention) return finding('KA-009', 'warning', title, []);
  const text = `offsets.retention.minutes is ${minutes}, which is ${hours(Number(minutes) * 60_000)}, and log.retention ${hours(retention)}`;
  const mend = `Set offsets.retention.minutes of the brokers to ${Math.ceil(retention / 60_000)}. No row is at stake: a sink starts from its own progress, but Kafka's tools show no lag.`;
  return finding('KA-009', 'warning', title, [{ text, mend }]);
}

/** A clock that is behind shows nowhere: only records that come from the future prove something. */
export function clockFinding(edges: readonly Edge[], nowWallMs: number): Finding {
  const aheadMs = Math.max(0, ...edges.map(({ atWallMs }) => atWallMs - nowWallMs));
  const title = 'no record of the topic has a time that is still to come';
  if (aheadMs <= SKEW_MS_MAX) return finding('KA-011', 'warning', title, []);
  const text = `the clock of a broker is at least ${(aheadMs / 1_000).toFixed(1)} s ahead of ours; records are kept by the clocks of the brokers`;
  return finding('KA-011', 'warning', title, [{ text, mend: 'Synchronise the clocks (chrony, systemd-timesyncd).' }]);
}

export function ownerFinding(edges: readonly Edge[], { topic, pipeline }: { readonly topic: string; readonly pipeline: string }): Finding {
  const foreign = foreignEdge(edges, pipeline);
  const title = 'the topic holds records of this pipeline only';
  if (foreign === null) return finding('KA-013', 'error', title, []);
  const { partition, offset, owner } = foreign;
  const text = `offset ${offset} of partition ${partition} of ${topic} ${owner === null ? 'was written by another program' : `belongs to the pipeline ${owner}`}`;
  return finding('KA-013', 'error', title, [{ text, mend: 'Give this pipeline a topic of its own in `log.topic`.' }]);
}

export function skipped(id: string, title: string): Finding {
  return { id, level: 'skipped', title, details: [], mend: [] };
}

function copyTroubles({ plan, partitions, values }: DescribedTopic): readonly Trouble[] {
  const inSyncMin = Number(values.get('min.insync.replicas') ?? 1);
  const few = tooFewCopies(plan, partitions);
  const without = partitions.filter(({ leader }) => leader < 0).map(({ partitionId }) => partitionId);
  const behind = partitions.filter(({ leader, isr }) => leader >= 0 && isr.length < inSyncMin).map(({ partitionId }) => partitionId);
  const start = 'Bring the brokers back that are down: `kafka-topics.sh --describe --under-min-isr-partitions` names what they hold.';
  return [
    ...(few === null ? [] : [few]),
    ...(without.length === 0 ? [] : [{ text: `partitions of ${plan.name} without a leader: ${without.join(', ')}`, mend: start }]),
    ...(behind.length === 0
      ? []
      : [{ text: `partitions of ${plan.name} that take no writes, with too few copies in step: ${behind.join(', ')}`, mend: start }]),
  ];
}

function settingTroubles(
  client: Pick<ClientParts, 'config'>,
  { plan, values }: DescribedTopic,
  names: readonly string[],
): readonly Trouble[] {
  const wrong = wrongSettings(plan, values).filter(({ setting }) => names.includes(setting.name));
  return wrong.map((one) => ({ text: `${plan.name}: ${one.text}`, mend: alterCommand(client, plan, wrong) }));
}

function hours(ms: number): string {
  return `${Number((ms / HOUR_MS).toFixed(1))} h`;
}
