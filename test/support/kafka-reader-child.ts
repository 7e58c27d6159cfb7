// A process with one member of a consumer group, to be killed: it tells each partition that it is given.
import { Follower } from './kafka-follower.ts';
import { kafkaLog } from './kafka-log.ts';

const [brokers = '', topic = '', partitions = '', sessionTimeout = ''] = process.argv.slice(2);
const log = kafkaLog({ brokers: brokers.split(','), topic, partitions: Number(partitions), sessionTimeout: Number(sessionTimeout) });
const follower = await Follower.start(log);
for (let told = 0; ; told += 1) {
  await follower.until(() => follower.given.length > told);
  process.stdout.write(`${follower.given[told] ?? '?'}\n`);
}
