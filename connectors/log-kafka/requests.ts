// Requests that kafkajs 2.2.4 has only in versions without leader epochs ("Apache Kafka protocol guide", "KIP-320").
import type { Offset } from '#core/position.ts';
import { type Broker, type Decoder, DecoderClass, EncoderClass, errorOf } from './kafkajs-internals.ts';
import type { Leadership } from './leadership.ts';

const METADATA = { apiKey: 3, apiName: 'Metadata', apiVersion: 7 } as const;
const LIST_OFFSETS = { apiKey: 2, apiName: 'ListOffsets', apiVersion: 5 } as const;
const REPLICA_NONE = -1;
const READ_UNCOMMITTED = 0;
const UNKNOWN_TOPIC_OR_PARTITION = 3;

/**
 * Metadata, version 7.
 *   request:  [topic STRING] allow_auto_topic_creation BOOLEAN
 *   response: throttle_time INT32, [node_id INT32, host, port INT32, rack STRING], cluster_id STRING, controller_id INT32,
 *             [error INT16, topic STRING, is_internal BOOLEAN,
 *              [error INT16, partition, leader, leader_epoch INT32, [replica], [in step], [offline INT32]]]
 * Empty where the broker does not know the topic.
 */
export async function partitionsToldBy(broker: Broker, topic: string): Promise<readonly Leadership[]> {
  const answer = await broker.connectionPool.send({
    request: { ...METADATA, encode: () => Promise.resolve(new EncoderClass().writeArray([topic]).writeBoolean(false)) },
    response: { decode: (bytes) => Promise.resolve(decodeTopics(bytes)), parse: (topics) => Promise.resolve(topics) },
  });
  return (answer as readonly TopicTold[]).flatMap(({ errorCode, partitions }) => {
    if (errorCode !== 0 && errorCode !== UNKNOWN_TOPIC_OR_PARTITION) throw errorOf(errorCode);
    return partitions;
  });
}

type TopicTold = { readonly errorCode: number; readonly partitions: readonly Leadership[] };

function decodeTopics(bytes: Buffer): readonly TopicTold[] {
  const decoder = new DecoderClass(bytes);
  decoder.readInt32();
  decoder.readArray((broker) => [broker.readInt32(), broker.readString(), broker.readInt32(), broker.readString()]);
  decoder.readString();
  decoder.readInt32();
  return decoder.readArray((topic) => {
    const errorCode = topic.readInt16();
    topic.readString();
    topic.readBoolean();
    return { errorCode, partitions: topic.readArray(decodePartition) };
  });
}

/** An error stands there where nobody leads, or not all copies run; the other fields tell that too. */
function decodePartition(decoder: Decoder): Leadership {
  decoder.readInt16();
  const [partition, leader, epoch] = [decoder.readInt32(), decoder.readInt32(), decoder.readInt32()];
  const [replicas, isr] = [int32s(decoder), int32s(decoder)];
  int32s(decoder);
  return { partition, leader, epoch, replicas, isr };
}

function int32s(decoder: Decoder): readonly number[] {
  return decoder.readArray((one) => one.readInt32());
}

type OffsetsWanted = {
  readonly topic: string;
  readonly partitions: readonly { readonly partition: number; readonly epoch: number }[];
  /** -1 asks for the end, -2 for the start. */
  readonly timestamp: number;
};

/**
 * ListOffsets, version 5.
 *   request:  replica INT32, isolation INT8, [topic STRING, [partition, current_leader_epoch INT32, timestamp INT64]]
 *   response: throttle_time INT32, [topic STRING, [partition INT32, error INT16, timestamp, offset INT64, leader_epoch INT32]]
 */
export async function offsetsAt(broker: Broker, { topic, partitions, timestamp }: OffsetsWanted): Promise<ReadonlyMap<number, Offset>> {
  const encode = () => {
    const wanted = partitions.map(({ partition, epoch }) =>
      new EncoderClass().writeInt32(partition).writeInt32(epoch).writeInt64(timestamp),
    );
    const named = new EncoderClass().writeString(topic).writeArray(wanted);
    return Promise.resolve(new EncoderClass().writeInt32(REPLICA_NONE).writeInt8(READ_UNCOMMITTED).writeArray([named]));
  };
  const answer = await broker.connectionPool.send({
    request: { ...LIST_OFFSETS, encode },
    response: { decode: (bytes) => Promise.resolve(decodeOffsets(bytes)), parse: (offsets) => Promise.resolve(offsets) },
  });
  const told = answer as ReturnType<typeof decodeOffsets>;
  for (const { errorCode } of told) if (errorCode !== 0) throw errorOf(errorCode);
  return new Map(told.map(({ partition, offset }) => [partition, offset]));
}

function decodeOffsets(bytes: Buffer): readonly { readonly partition: number; readonly errorCode: number; readonly offset: Offset }[] {
  const decoder = new DecoderClass(bytes);
  decoder.readInt32();
  const topics = decoder.readArray((topic) => {
    topic.readString();
    return topic.readArray((one) => {
      const [partition, errorCode] = [one.readInt32(), one.readInt16()];
      one.readInt64();
      const offset = Number(one.readInt64().toString()) as Offset;
      one.readInt32();
      return { partition, errorCode, offset };
    });
  });
  return topics.flat();
}
