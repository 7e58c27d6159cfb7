import { integration, unit, type Mutant } from '../mutant.ts';

const producer = 'connectors/log-kafka/producer.ts';
const write = 'connectors/log-kafka/write.ts';
const topic = 'connectors/log-kafka/topic.ts';
const errors = 'connectors/log-kafka/errors.ts';
const producerTest = unit('connectors/log-kafka/producer');
const writeTest = unit('connectors/log-kafka/write');
const loginTest = unit('connectors/log-kafka/login');

export const kafkaLogMutants: readonly Mutant[] = [
  {
    name: 'a reply of Kafka that does not name the partition counts',
    file: producer,
    find: 'replies.find((one) => one.topicName === topic && one.partition === partition)',
    put: 'replies.find((one) => one.topicName === topic)',
    breaks: 'C1, 33',
    suite: producerTest,
  },
  {
    name: 'a reply of Kafka for another topic counts',
    file: producer,
    find: 'one.topicName === topic && one.partition === partition',
    put: 'one.partition === partition',
    breaks: 'C1, 33',
    suite: producerTest,
  },
  {
    name: 'a reply of Kafka with an error code counts',
    file: producer,
    find: 'if (reply?.errorCode !== 0) throw',
    put: 'if (reply === undefined) throw',
    breaks: 'C1',
    suite: producerTest,
  },
  {
    name: 'an offset that did not rise counts',
    file: producer,
    find: 'if (!(base >= end)) {',
    put: 'if (Number.isNaN(base)) {',
    breaks: 'C1, 34, 40',
    suite: producerTest,
  },
  {
    name: 'a reply of Kafka without an offset counts as the first',
    file: producer,
    find: "const base = WHOLE.test(reply.baseOffset ?? '') ? Number(reply.baseOffset) : Number.NaN;",
    put: 'const base = Number(reply.baseOffset);',
    breaks: 'C1',
    suite: producerTest,
  },
  {
    name: 'a writer does not know where the partitions ended when it was made',
    file: producer,
    find: 'this.#ends = new Map(parts.ends);',
    put: 'this.#ends = new Map();',
    breaks: 'C1, 40',
    suite: producerTest,
  },
  {
    name: 'a producer is used again after a refused send',
    file: producer,
    find: `    } catch (error) {
      this.#drop();
      signal.throwIfAborted();`,
    put: `    } catch (error) {
      signal.throwIfAborted();`,
    breaks: '34',
    suite: producerTest,
  },
  {
    name: 'two sends of one producer are on their way at once',
    file: producer,
    find: 'this.#last.then(() => this.#send(batch, signal))',
    put: 'this.#send(batch, signal)',
    breaks: 'C5',
    suite: producerTest,
  },
  {
    name: "a producer's numbers begin anew",
    file: producer,
    find: 'const MESSAGES_MAX = 1e9;',
    put: 'const MESSAGES_MAX = 1e12;',
    breaks: 'C1',
    suite: producerTest,
  },
  {
    name: 'an outage of Kafka ends the append',
    file: producer,
    find: "if (failure.code !== 'log_unavailable' && ",
    put: 'if (',
    breaks: 'section 4',
    suite: producerTest,
  },
  {
    name: 'a refused login at Kafka is tried again for ever',
    file: producer,
    find: "failure.code !== 'log_unavailable' && !(failure.code",
    put: "failure.code !== 'log_unavailable' && failure.code !== 'log_credentials' && !(failure.code",
    breaks: 'section 5',
    suite: producerTest,
  },
  {
    name: 'a topic that is missing is asked for for ever',
    file: producer,
    find: "failure.code === 'log_topic_missing' && attempt < MISSING_ATTEMPTS",
    put: "failure.code === 'log_topic_missing'",
    breaks: 'section 4',
    suite: producerTest,
  },
  {
    name: 'an append to Kafka goes on behind a failed one',
    file: write,
    find: `this.#last = result.catch(() => {
      this.#failed = true;
    });`,
    put: 'this.#last = result.catch(() => undefined);',
    breaks: 'C7',
    suite: writeTest,
  },
  {
    name: 'an append that failed in one partition waits for the others',
    file: write,
    find: '        failed.abort(error);\n',
    put: '',
    breaks: 'section 4',
    suite: writeTest,
  },
  {
    name: 'two producers write one partition',
    file: write,
    find: 'partition % this.#producers.length === index',
    put: 'partition % this.#producers.length === index || index === 0',
    breaks: 'C5',
    suite: writeTest,
  },
  {
    name: 'a batch for Kafka grows without a limit',
    file: write,
    find: 'batch === undefined || batch.bytes + bytes + RECORD_BYTES > batchBytesMax',
    put: 'batch === undefined',
    breaks: '13',
    suite: writeTest,
  },
  {
    name: 'a batch for Kafka is larger than its topic takes',
    file: write,
    find: 'const batchBytesMax = Math.min(BATCH_BYTES_MAX, recordBytesMax);',
    put: 'const batchBytesMax = BATCH_BYTES_MAX;',
    breaks: '13',
    suite: writeTest,
  },
  {
    name: 'a record for Kafka that is too large is sent',
    file: write,
    find: "    assert(bytes <= recordBytesMax, 'a record is not larger than recordBytesMax');\n",
    put: '',
    breaks: '13',
    suite: writeTest,
  },
  {
    name: 'a broken connection in the middle of a login is a refused login',
    file: 'connectors/log-kafka/authentication.ts',
    find: "if (codeOfKafkaError(error) === 'log_unavailable') broke = error;",
    put: '',
    breaks: 'section 4',
    suite: loginTest,
  },
  {
    name: 'the outermost error of kafkajs decides',
    file: errors,
    find: 'const cause = deepest(error);\n  if (cause instanceof CausewayError)',
    put: 'const cause = error;\n  if (cause instanceof CausewayError)',
    breaks: 'section 5',
    suite: loginTest,
  },
  {
    name: 'a compacted topic is taken for a log',
    file: topic,
    find: "exactly('cleanup.policy', 'delete'),",
    put: "{ name: 'cleanup.policy', value: 'delete', fits: () => true },",
    breaks: 'section 4',
    suite: integration('log-kafka-write', 'a topic that is there'),
  },
  {
    name: 'another number of partitions of a topic is taken',
    file: topic,
    find: 'if (partitions.length !== plan.partitions) throw',
    put: 'if (partitions.length < 0) throw',
    breaks: 'section 4',
    suite: integration('log-kafka-write', 'another number of partitions'),
  },
  {
    name: 'a match of LZ4 begins where the decoder of Kafka refuses it',
    file: 'connectors/log-kafka/lz4-block.ts',
    find: 'const MATCH_START_LIMIT = 12;',
    put: 'const MATCH_START_LIMIT = 9;',
    breaks: 'section 4',
    suite: unit('connectors/log-kafka/lz4'),
  },
  {
    name: 'the queue of every connection to Kafka looks for ever',
    file: 'connectors/log-kafka/kafkajs-internals.ts',
    find: 'if (this.pending.length > 0) schedule.call(this);',
    put: 'schedule.call(this);',
    breaks: 'idle under 1 % of a core',
    suite: unit('connectors/log-kafka/request-queue'),
  },
];
