/*
 * Every use of kafkajs that its public interface does not offer, for version 2.2.4, which package.json names exactly. What is imported
 * here is looked at anew before that version is changed.
 */
import { createRequire } from 'node:module';
import type { ISocketFactory, Kafka, Logger, Mechanism, RetryOptions } from 'kafkajs';
import type { ConnectionOptions } from 'node:tls';

const load = createRequire(import.meta.url);

type RequestQueue = { readonly pending: readonly unknown[] };
type RequestQueueClass = { readonly prototype: { scheduleCheckPendingRequests: (this: RequestQueue) => void } };

/**
 * Each connection's queue looks every millisecond, for ever, whether a throttled request may be sent, with a negative delay of which
 * Node.js 24 warns. It only has to look while a request waits; `push` and each answer ask for it again.
 */
function lookWhileSomethingWaits({ prototype }: RequestQueueClass): void {
  const schedule = prototype.scheduleCheckPendingRequests;
  prototype.scheduleCheckPendingRequests = function scheduleCheckPendingRequests(): void {
    if (this.pending.length > 0) schedule.call(this);
  };
}

lookWhileSomethingWaits(load('kafkajs/src/network/requestQueue/index.js') as RequestQueueClass);

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

type PartitionMetadata = { readonly partitionErrorCode: number; readonly partitionId: number; readonly leader: number };

export type TopicMetadata = {
  readonly topic: string;
  readonly topicErrorCode: number;
  readonly partitionMetadata: readonly PartitionMetadata[];
};

/** One partition of a fetch request. Offsets are decimal texts. */
type FetchPartition = { readonly partition: number; readonly fetchOffset: string; readonly maxBytes: number };

export type FetchedMessage = {
  readonly offset: string;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Readonly<Record<string, Buffer | undefined>>;
  readonly isControlRecord?: boolean;
  readonly batchContext?: { readonly lastOffsetDelta: number; readonly firstOffset: string };
};

export type FetchedPartition = {
  readonly partition: number;
  readonly errorCode: number;
  readonly highWatermark: string;
  readonly lastStableOffset?: string;
  readonly lastStartOffset?: string;
  readonly messages: readonly FetchedMessage[];
};

/** A connection to one broker. */
export type Broker = {
  readonly nodeId: number;
  isConnected(): boolean;
  metadata(topics: readonly string[]): Promise<{ readonly topicMetadata: readonly TopicMetadata[] }>;
  fetch(request: {
    readonly replicaId?: number;
    /** 0 reads what is not committed too. */
    readonly isolationLevel: 0 | 1;
    readonly maxWaitTime: number;
    readonly minBytes: number;
    readonly maxBytes: number;
    readonly rackId?: string;
    readonly topics: readonly { readonly topic: string; readonly partitions: readonly FetchPartition[] }[];
  }): Promise<{
    readonly responses: readonly { readonly topicName: string; readonly partitions: readonly FetchedPartition[] }[];
  }>;
  listOffsets(request: {
    readonly replicaId?: number;
    readonly isolationLevel?: 0 | 1;
    readonly topics: readonly {
      readonly topic: string;
      /** -1 asks for the end, -2 for the start. */
      readonly partitions: readonly { readonly partition: number; readonly timestamp: number }[];
    }[];
  }): Promise<{
    readonly responses: readonly {
      readonly topic: string;
      readonly partitions: readonly { readonly partition: number; readonly errorCode: number; readonly offset: string }[];
    }[];
  }>;
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

type Provider<Credentials> = (credentials: Credentials) => Mechanism['authenticationProvider'];
type Password = { readonly username: string; readonly password: string };
type Token = { readonly oauthBearerProvider: () => Promise<{ readonly value: string }> };

/** The client's own SASL exchanges, to be given what was read a moment before. */
export const exchanges = {
  plain: load('kafkajs/src/broker/saslAuthenticator/plain.js') as Provider<Password>,
  'scram-sha-256': load('kafkajs/src/broker/saslAuthenticator/scram256.js') as Provider<Password>,
  'scram-sha-512': load('kafkajs/src/broker/saslAuthenticator/scram512.js') as Provider<Password>,
  oauthbearer: load('kafkajs/src/broker/saslAuthenticator/oauthBearer.js') as Provider<Token>,
} as const;
