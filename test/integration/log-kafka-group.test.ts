// Two members of one consumer group: how partitions of a log in Kafka come and go.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Kafka, logLevel } from 'kafkajs';
import { expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import type { EncodedRecord, Log } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import { leaveGroup } from '../../connectors/log-kafka/membership.ts';
import { TopicBrokers } from '../../connectors/log-kafka/topic-brokers.ts';
import { codeRejected, collect, never, progressAt } from '../contract/log-support.ts';
import { Follower } from '../support/kafka-follower.ts';
import { kafkaLog, newTopic } from '../support/kafka-log.ts';
import { describeShared, sharedService } from '../support/services.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { realRuntime } from '../support/test-runtime.ts';

const PARTITIONS = 4;

async function append(log: Log, texts: readonly string[]): Promise<void> {
  await using writer = await log.writer(never);
  const records = texts.flatMap((text) =>
    Array.from({ length: PARTITIONS }, (_none, partition): EncodedRecord => ({ partition, key: null, value: Buffer.from(text) })),
  );
  await writer.append(records, never);
}

type Made = { readonly logs: readonly Log[]; readonly topic: string; readonly brokers: string[] };

/** Logs of as many processes over one topic, which has no records yet. */
async function logs(count: number, over: Partial<Parameters<typeof kafkaLog>[0]> = {}): Promise<Made> {
  const { brokers } = await sharedService('kafka');
  const topic = newTopic();
  const made = Array.from({ length: count }, () => kafkaLog({ brokers: [...brokers], topic, partitions: PARTITIONS, ...over }));
  await present(made[0], 'a log').provision(never);
  return { logs: made, topic, brokers: [...brokers] };
}

async function closed(all: readonly AsyncDisposable[]): Promise<void> {
  for (const one of all) await one[Symbol.asyncDispose]();
}

describeShared('kafka', 'a consumer group', () => {
  test('shares partitions out as members come, and what a member keeps goes on untouched', { timeout: 40_000 }, async () => {
    // Longer than the test may take: no session ends in it.
    const { logs: all } = await logs(2, { sessionTimeout: 300_000 });
    const [first, second] = all as [Log, Log];
    await append(first, ['a', 'b']);
    const one = await Follower.start(first);
    await one.until(() => one.held.size === PARTITIONS && one.seen.length === 2 * PARTITIONS);
    const before = new Map(one.held);
    const two = await Follower.start(second);
    await two.until(() => two.held.size === 2);
    await one.until(() => one.held.size === 2);
    for (const [partition, assignment] of one.held) {
      expect(assignment).toBe(before.get(partition));
      expect(assignment.revoked.aborted).toBe(false);
    }
    expect([...one.held.keys(), ...two.held.keys()].toSorted()).toEqual([0, 1, 2, 3]);
    await append(first, ['c']);
    for (const follower of [one, two]) {
      const held = [...follower.held.keys()];
      await follower.until(() => held.every((partition) => follower.texts(partition).length === 3));
      for (const partition of held) expect(follower.texts(partition)).toEqual(['a', 'b', 'c']);
    }
    // One that leaves is not waited for: its partitions go at once.
    await two[Symbol.asyncDispose]();
    await one.until(() => one.held.size === PARTITIONS);
    expect(one.errors).toEqual([]);
    await closed([one, ...all]);
  });

  test('gives the partitions of a process that was killed to the others when its session ends', async () => {
    const sessionTimeout = 2_000;
    const { logs: all, topic, brokers } = await logs(1, { sessionTimeout });
    const [log] = all as [Log];
    const child = fileURLToPath(new URL('../support/kafka-reader-child.ts', import.meta.url));
    const killed = spawn(process.execPath, [child, brokers.join(','), topic, `${PARTITIONS}`, `${sessionTimeout}`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(killed.stdout, 'data');
    const one = await Follower.start(log);
    await one.until(() => one.held.size === 2);
    const exit = once(killed, 'exit');
    killed.kill('SIGKILL');
    await exit;
    await one.until(() => one.held.size === PARTITIONS);
    await append(log, ['a']);
    await one.until(() => one.seen.length === PARTITIONS);
    expect(one.lost).toEqual([]);
    await closed([one, log]);
  });

  test('a member that works for long on what it has read stays in the group', async () => {
    const beats: number[] = [];
    const progressed = new Map<number, () => void>();
    const runtime = realRuntime();
    const counting = {
      ...runtime,
      sleep: async (ms: number, signal: AbortSignal): Promise<void> => {
        await runtime.sleep(ms, signal);
        // A quarter of a session, and half as much more or less.
        if (ms >= 125 && ms <= 376) beats.push(ms);
        progressed.get(beats.length)?.();
      },
    };
    const { logs: all } = await logs(1, { sessionTimeout: 1_000, runtime: counting });
    const [log] = all as [Log];
    await append(log, ['a']);
    const reader = await log.reader('warm', never);
    for await (const assignment of reader.assignments(never)) {
      if (assignment.partition !== 0) continue;
      for await (const batch of assignment.batches(0 as Offset, never)) {
        expect(batch.records).toHaveLength(1);
        // Three sessions long.
        await new Promise<void>((resolve) => progressed.set(beats.length + 12, resolve));
        break;
      }
      expect(assignment.revoked.aborted).toBe(false);
      expect(await assignment.commit(progressAt(1, [7, 1]), never)).toEqual(progressAt(1, [7, 1]));
      break;
    }
    await closed([reader, log]);
  });

  test('a member stores nothing for a partition that was taken from it, and its successor begins with what it had stored', async () => {
    const { logs: all } = await logs(2);
    const [first, second] = all as [Log, Log];
    const one = await Follower.start(first);
    await one.until(() => one.held.size === PARTITIONS);
    const before = new Map(one.held);
    for (const assignment of before.values()) await assignment.commit(progressAt(5, [7, 5]), never);
    const two = await Follower.start(second);
    await two.until(() => two.held.size === 2);
    await one.until(() => one.held.size === 2);
    for (const [partition, theirs] of two.held) {
      expect(await theirs.committed(never)).toEqual(progressAt(5, [7, 5]));
      expect(await before.get(partition)?.commit(progressAt(9, [7, 9]), never)).toEqual(progressAt(5, [7, 5]));
      await before.get(partition)?.rewind(progressAt(1, [7, 1]), never);
      expect(await theirs.committed(never)).toEqual(progressAt(5, [7, 5]));
      expect(await theirs.commit(progressAt(6, [7, 6]), never)).toEqual(progressAt(6, [7, 6]));
    }
    await closed([one, two, ...all]);
  });

  test('a member that the coordinator has forgotten joins again, as one that has nothing', async () => {
    const { logs: all, topic, brokers } = await logs(1);
    const [log] = all as [Log];
    const one = await Follower.start(log);
    await one.until(() => one.held.size === PARTITIONS);
    const before = new Map(one.held);
    const admin = new Kafka({ brokers, logLevel: logLevel.NOTHING }).admin();
    await admin.connect();
    const { groups } = await admin.describeGroups([`${topic}_warm`]);
    const memberId = present(groups[0]?.members[0], 'the member').memberId;
    const config = { brokers, requestTimeout: 5_000, connectTimeout: 5_000, tls: undefined, sasl: undefined };
    await using other = await TopicBrokers.open({ config, clientId: 'test', runtime: realRuntime(), logger: silentLogger }, never);
    await leaveGroup(other, { groupId: `${topic}_warm`, topic, memberId });
    await one.until(() => one.given.length === 2 * PARTITIONS);
    for (const assignment of before.values()) expect(assignment.revoked.aborted).toBe(true);
    expect([...one.held.keys()].toSorted()).toEqual([0, 1, 2, 3]);
    await admin.disconnect();
    await closed([one, log]);
  });

  test('an offset that is not in the log changes nothing that is stored, and a group that was erased is only a hint lost', async () => {
    const { logs: all, topic, brokers } = await logs(1);
    const [log] = all as [Log];
    await append(log, ['a', 'b', 'c']);
    const one = await Follower.start(log);
    await one.until(() => one.held.size === PARTITIONS);
    const assignment = present(one.held.get(0), 'partition 0');
    await assignment.commit(progressAt(2, [7, 2]), never);
    expect(await codeRejected(collect(assignment.batches(9 as Offset, never)))).toBe('log_offset_gone');
    expect(await assignment.committed(never)).toEqual(progressAt(2, [7, 2]));
    await one[Symbol.asyncDispose]();
    const admin = new Kafka({ brokers, logLevel: logLevel.NOTHING }).admin();
    await admin.connect();
    await admin.deleteGroups([`${topic}_warm`]);
    await admin.disconnect();
    const two = await Follower.start(log, { from: 2 });
    await two.until(() => two.seen.length === PARTITIONS);
    expect(two.texts(0)).toEqual(['c']);
    expect(await two.held.get(0)?.committed(never)).toBeNull();
    expect(await two.held.get(0)?.commit(progressAt(1, [7, 1]), never)).toEqual(progressAt(1, [7, 1]));
    await closed([two, log]);
  });
});
