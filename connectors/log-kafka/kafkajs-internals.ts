/*
 * Every use of kafkajs that its public interface does not offer, for version 2.2.4, which package.json names exactly. What is imported
 * here is looked at anew before that version is changed.
 */
import { createRequire } from 'node:module';
import type { ISocketFactory, Kafka, Logger, Mechanism, RetryOptions } from 'kafkajs';
import type { ConnectionOptions } from 'node:tls';
import './kafkajs-repairs.ts';

const load = createRequire(import.meta.url);

/** What all clients of one cluster of brokers are made from. */
export type ClusterOptions = {
  readonly brokers: string[];
  readonly clientId: string;
  readonly ssl?: ConnectionOptions;
  readonly sasl?: Mechanism;
  readonly socketFactory: ISocketFactory;
  readonly connectionTimeout: number;
  readonly authenticationTimeout: number;
  readonly requestTimeout: number;
  readonly retry: RetryOptions;
};

export type PartitionMetadata = {
  readonly partitionErrorCode: number;
  readonly partitionId: number;
  readonly leader: number;
  readonly replicas: readonly number[];
  /** Copies that are in step with the leader. */
  readonly isr: readonly number[];
};

export type TopicMetadata = {
  readonly topic: string;
  readonly topicErrorCode: number;
  readonly partitionMetadata: readonly PartitionMetadata[];
};

/** What each call of a consumer group's member names. */
export type GroupMember = { readonly groupId: string; readonly memberId: string };
export type GroupOffset = { readonly partition: number; readonly offset: string; readonly metadata: string | null };

/** What a broker fences and counts by. */
export type ProducerEpoch = { readonly producerId: string; readonly producerEpoch: number };
export type ProducedMessage = {
  readonly key: Buffer;
  readonly value: Buffer | null;
  readonly headers?: Readonly<Record<string, string>>;
};

/** A connection to one broker. */
export type Broker = {
  readonly nodeId: number;
  readonly connectionPool: { send(protocol: Protocol): Promise<unknown> };
  isConnected(): boolean;
  disconnect(): Promise<void>;
  metadata(topics: readonly string[]): Promise<{ readonly topicMetadata: readonly TopicMetadata[] }>;
  /** Without a transactional id it only hands out numbers, as an idempotent producer needs them. */
  initProducerId(request: { readonly transactionalId: string | null; readonly transactionTimeout: number }): Promise<ProducerEpoch>;
  produce(
    request: ProducerEpoch & {
      readonly acks: number;
      readonly timeout: number;
      readonly compression: number;
      readonly topicData: readonly {
        readonly topic: string;
        readonly partitions: readonly {
          readonly partition: number;
          readonly firstSequence: number;
          readonly messages: readonly ProducedMessage[];
        }[];
      }[];
    },
  ): Promise<{
    readonly topics: readonly {
      readonly topicName: string;
      readonly partitions: readonly { readonly partition: number; readonly errorCode: number; readonly baseOffset: string }[];
    }[];
  }>;
  endTxn(request: ProducerEpoch & { readonly transactionalId: string; readonly transactionResult: boolean }): Promise<unknown>;
  findGroupCoordinator(of: {
    readonly groupId: string;
    readonly coordinatorType: number;
  }): Promise<{ readonly coordinator: { readonly nodeId: number } }>;
  /** Answered when all members have joined. */
  joinGroup(
    request: GroupMember & {
      readonly sessionTimeout: number;
      readonly rebalanceTimeout: number;
      readonly groupProtocols: readonly { readonly name: string; readonly metadata: Buffer }[];
    },
  ): Promise<{
    readonly generationId: number;
    readonly leaderId: string;
    readonly memberId: string;
    /** Empty but for the leader. */
    readonly members: readonly { readonly memberId: string; readonly memberMetadata: Buffer }[];
  }>;
  syncGroup(
    request: GroupMember & {
      readonly generationId: number;
      readonly groupAssignment: readonly { readonly memberId: string; readonly memberAssignment: Buffer }[];
    },
  ): Promise<{ readonly memberAssignment: Buffer }>;
  heartbeat(request: GroupMember & { readonly groupGenerationId: number }): Promise<unknown>;
  leaveGroup(request: GroupMember): Promise<unknown>;
  offsetCommit(
    request: GroupMember & {
      readonly groupGenerationId: number;
      readonly topics: readonly { readonly topic: string; readonly partitions: readonly GroupOffset[] }[];
    },
  ): Promise<unknown>;
  offsetFetch(request: {
    readonly groupId: string;
    readonly topics: readonly { readonly topic: string; readonly partitions: readonly { readonly partition: number }[] }[];
  }): Promise<{ readonly responses: readonly { readonly topic: string; readonly partitions: readonly GroupOffset[] }[] }>;
};

/** The brokers of one cluster as one client sees them: metadata, and one connection pool for each broker. */
export type Cluster = {
  connect(): Promise<void>;
  disconnect(): Promise<void>;
  isConnected(): boolean;
  /** Also asks for its metadata. */
  addTargetTopic(topic: string): Promise<void>;
  refreshMetadata(): Promise<void>;
  refreshMetadataIfNecessary(): Promise<void>;
  findBroker(options: { readonly nodeId: string | number }): Promise<Broker>;
  getNodeIds(): readonly string[];
  findTopicPartitionMetadata(topic: string): readonly PartitionMetadata[];
  findLeaderForPartitions(topic: string, partitions: readonly number[]): Readonly<Record<string, readonly number[]>>;
};

type ClusterClass = new (
  options: ClusterOptions & {
    readonly logger: Logger;
    readonly enforceRequestTimeout: boolean;
    readonly metadataMaxAge: number;
    readonly allowAutoTopicCreation: boolean;
    readonly maxInFlightRequests: number | null;
    readonly isolationLevel: 0 | 1;
  },
) => Cluster;

const Cluster = load('kafkajs/src/cluster/index.js') as ClusterClass;

const METADATA_MAX_AGE_MS = 300_000;
const READ_UNCOMMITTED = 0;

/** What the client keeps inside each of its producers and consumers, for fetching without a group. */
export function clusterOf(kafka: Kafka, options: ClusterOptions): Cluster {
  return new Cluster({
    ...options,
    logger: kafka.logger(),
    enforceRequestTimeout: true,
    metadataMaxAge: METADATA_MAX_AGE_MS,
    allowAutoTopicCreation: false,
    maxInFlightRequests: null,
    isolationLevel: READ_UNCOMMITTED,
  });
}

type Encoder = {
  readonly buffer: Buffer;
  writeInt8(value: number): Encoder;
  writeInt32(value: number): Encoder;
  writeInt64(value: number): Encoder;
  writeBoolean(value: boolean): Encoder;
  writeString(value: string): Encoder;
  writeArray(values: readonly (number | string | Encoder)[]): Encoder;
};
export type Decoder = {
  readBoolean(): boolean;
  readInt16(): number;
  readInt32(): number;
  readInt64(): { toString(): string };
  readString(): string;
  readBytes(): Buffer | null;
  readArray<T>(each: (decoder: Decoder) => T): T[];
};
type Request = { readonly apiKey: number; readonly apiName: string; readonly apiVersion: number; encode(): Promise<Encoder> };
type Protocol = {
  readonly request: Request;
  readonly response: { decode(bytes: Buffer): Promise<unknown>; parse(data: unknown): Promise<unknown> };
  /** That of the client unless it is named. */
  readonly requestTimeout?: number;
};

/** How the client writes requests and reads answers. */
export const EncoderClass = load('kafkajs/src/protocol/encoder.js') as new () => Encoder;
export const DecoderClass = load('kafkajs/src/protocol/decoder.js') as new (bytes: Buffer) => Decoder;

export type FetchRequest = {
  readonly topic: string;
  readonly partitions: readonly {
    readonly partition: number;
    /** A leader of another epoch refuses; whoever answers is believed without it. */
    readonly epoch?: number;
    readonly from: number;
    readonly bytesMax: number;
  }[];
  readonly waitMs: number;
  readonly bytesMax: number;
};

/** What one partition has, as it came: its batches are decoded where they are used. */
export type FetchedPartition = {
  readonly partition: number;
  readonly errorCode: number;
  /** The offset behind the last durable record, as this broker knows it. */
  readonly end: number;
  readonly bytes: Buffer;
};
export type Fetched = {
  /** Above 0 where a quota made the answer empty; the client holds the next request back by itself. */
  readonly clientSideThrottleTime: number;
  readonly errorCode: number;
  readonly partitions: readonly FetchedPartition[];
};

const fetchRequest = load('kafkajs/src/protocol/requests/fetch/v11/request.js') as (request: object) => Request;
const REPLICA_NONE = -1;
const NETWORK_MS = 5_000;

/**
 * Fetch, version 11 ("Apache Kafka protocol guide"), read uncommitted: what the client makes of an answer loses where batches end,
 * and throws away every partition where one has an error.
 */
export async function fetchFrom(broker: Broker, request: FetchRequest): Promise<Fetched> {
  const { topic, waitMs, bytesMax } = request;
  const partitions = request.partitions.map(({ partition, epoch, from, bytesMax: maxBytes }) => ({
    partition,
    ...(epoch === undefined ? {} : { currentLeaderEpoch: epoch }),
    fetchOffset: String(from),
    maxBytes,
  }));
  const wanted = { replicaId: REPLICA_NONE, maxWaitTime: waitMs, minBytes: 1, maxBytes: bytesMax, isolationLevel: READ_UNCOMMITTED };
  const answer = await broker.connectionPool.send({
    request: fetchRequest({ ...wanted, topics: [{ topic, partitions }] }),
    response: { decode: (bytes) => Promise.resolve(decodeFetched(bytes)), parse: (data) => Promise.resolve(data) },
    requestTimeout: waitMs + NETWORK_MS,
  });
  const fetched = answer as Fetched;
  if (fetched.errorCode !== 0) throw errorOf(fetched.errorCode);
  return fetched;
}

function decodeFetched(bytes: Buffer): Fetched {
  const decoder = new DecoderClass(bytes);
  const clientSideThrottleTime = decoder.readInt32();
  const errorCode = decoder.readInt16();
  decoder.readInt32();
  const partitions = decoder.readArray((topic) => {
    topic.readString();
    return topic.readArray(decodePartition);
  });
  return { clientSideThrottleTime, errorCode, partitions: partitions.flat() };
}

function decodePartition(decoder: Decoder): FetchedPartition {
  const partition = decoder.readInt32();
  const errorCode = decoder.readInt16();
  const end = Number(decoder.readInt64().toString());
  // Last stable offset and start of the log, aborted transactions, preferred replica.
  decoder.readInt64();
  decoder.readInt64();
  decoder.readArray((aborted) => [aborted.readInt64(), aborted.readInt64()]);
  decoder.readInt32();
  // A copy: a small piece would keep the whole answer in memory.
  return { partition, errorCode, end, bytes: Buffer.from(decoder.readBytes() ?? Buffer.alloc(0)) };
}

/** The client's error for a code of the protocol. */
export const errorOf = (
  load('kafkajs/src/protocol/error.js') as { readonly createErrorFromCode: (code: number) => Error & { readonly type: string } }
).createErrorFromCode;

/** How the members of a group name topics and partitions, so that Kafka's own tools can show them. */
export const groupProtocol = load('kafkajs/src/consumer/assignerProtocol.js') as {
  readonly MemberMetadata: {
    encode(input: { readonly version: number; readonly topics: readonly string[]; readonly userData: Buffer }): Buffer;
    decode(bytes: Buffer): { readonly topics: readonly string[]; readonly userData: Buffer | null };
  };
  readonly MemberAssignment: {
    encode(input: {
      readonly version: number;
      readonly assignment: Readonly<Record<string, readonly number[]>>;
      readonly userData: Buffer;
    }): Buffer;
    decode(bytes: Buffer): { readonly assignment: Readonly<Record<string, readonly number[]>> } | null;
  };
};

/** The checksum of record batches, CRC-32C. */
export const crc32C = load('kafkajs/src/protocol/recordBatch/crc32C/index.js') as (bytes: Buffer) => number;

const compression = load('kafkajs/src/protocol/message/compression/index.js') as {
  readonly lookupCodecByAttributes: (attributes: number) => { decompress(bytes: Buffer): Promise<Buffer> } | null;
};

/** What unpacks a batch with these attributes; null where it is not packed. */
export const codecOf = compression.lookupCodecByAttributes;

type Provider<Credentials> = (credentials: Credentials) => Mechanism['authenticationProvider'];
type Password = { readonly username: string; readonly password: string };
type Token = {
  readonly oauthBearerProvider: () => Promise<{ readonly value: string; readonly extensions?: Readonly<Record<string, string>> }>;
};

/** The client's own SASL exchanges, to be given what was read a moment before. */
export const exchanges = {
  plain: load('kafkajs/src/broker/saslAuthenticator/plain.js') as Provider<Password>,
  'scram-sha-256': load('kafkajs/src/broker/saslAuthenticator/scram256.js') as Provider<Password>,
  'scram-sha-512': load('kafkajs/src/broker/saslAuthenticator/scram512.js') as Provider<Password>,
  oauthbearer: load('kafkajs/src/broker/saslAuthenticator/oauthBearer.js') as Provider<Token>,
} as const;
