// The contract of the log, kept by Kafka. Room is not made by progress there, but by age.
import { logContract } from '../contract/log.ts';
import { kafkaLog, newTopic } from '../support/kafka-log.ts';
import { describeShared, sharedService } from '../support/services.ts';

describeShared('kafka', 'a log in Kafka', () => {
  logContract(
    'Kafka',
    async ({ partitions }) => {
      const { brokers } = await sharedService('kafka');
      const topic = newTopic();
      return {
        open: () => kafkaLog({ brokers: [...brokers], topic, partitions }),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      };
    },
    { freedBy: 'retention' },
  );
});
