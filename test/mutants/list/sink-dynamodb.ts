import { integration, unit, type Mutant } from '../mutant.ts';

const sink = (only: string): Mutant['suite'] => integration('sink-dynamodb', only);
const values = unit('connectors/sink-dynamodb/encode');

export const sinkDynamoDbMutants: readonly Mutant[] = [
  {
    name: 'an item of DynamoDB is replaced whatever its sequence',
    file: 'connectors/sink-dynamodb/write.ts',
    breaks: 'A1',
    find: "ConditionExpression: 'attribute_not_exists(#key) OR #sequence < :sequence',",
    put: "ConditionExpression: 'attribute_not_exists(#key) OR #sequence < :sequence OR #sequence >= :sequence',",
    suite: sink('takes a first, a newer'),
  },
  {
    name: 'an item of DynamoDB that something else wrote is taken for a newer one',
    file: 'connectors/sink-dynamodb/write.ts',
    breaks: 'A6',
    find: 'return sequenceOf(found) === null ? FOREIGN : STALE;',
    put: 'return found === null ? FOREIGN : STALE;',
    suite: sink('takes over a row that has no version yet'),
  },
  {
    name: 'a partial image revives a deleted item of DynamoDB',
    file: 'connectors/sink-dynamodb/write.ts',
    breaks: 'A2',
    find: 'if (isTombstone(found)) return WITHOUT_BASE;',
    put: '',
    suite: sink('does not revive a row'),
  },
  {
    name: 'a partition of DynamoDB is written without a look at its fence',
    file: 'connectors/lib/sink/held.ts',
    breaks: 'section 5',
    find: 'if (token > mine.token)',
    put: 'if (token < 0)',
    suite: sink('ends the older holder'),
  },
  {
    name: 'progress in DynamoDB that went back goes unnoticed',
    file: 'connectors/lib/sink/held.ts',
    breaks: 'section 7',
    find: 'if (mine.seen !== null && (progress === null || compareSinkProgress(progress, mine.seen) < 0)) {',
    put: 'if (mine.seen === undefined) {',
    suite: sink('that went back below'),
  },
  {
    name: 'a table of DynamoDB that was made again is written on',
    file: 'connectors/sink-dynamodb/sink.ts',
    breaks: '43',
    find: 'if (before === now) return;',
    put: 'if (before !== null) return;',
    suite: sink('a table that was made again'),
  },
  {
    name: 'a request that gives up its turn at DynamoDB wakes nobody',
    file: 'connectors/sink-dynamodb/sink.ts',
    breaks: 'a stop that ends',
    find: 'this.#waiting.shift()?.();',
    put: 'if (!signal.aborted) this.#waiting.shift()?.();',
    suite: sink('a batch that is given up'),
  },
  {
    name: 'a sweep of DynamoDB goes on where a partition has not passed the floor',
    file: 'connectors/sink-dynamodb/sink.ts',
    breaks: 'section 4',
    find: 'if (progress === null || !hasPassed(progress, floor))',
    put: 'if (progress !== null && progress.offset < 0)',
    suite: sink('is refused, and not remembered'),
  },
  {
    name: 'a number that DynamoDB would give back otherwise is not kept as text',
    file: 'connectors/sink-dynamodb/encode.ts',
    breaks: 'section 11',
    find: 'return { attribute: { N: number }, exact: numberText(type, number) === text };',
    put: 'return { attribute: { N: number }, exact: numberText(type, number) !== null };',
    suite: values,
  },
  {
    name: 'numbers of more than 38 digits are sent to DynamoDB',
    file: 'connectors/sink-dynamodb/number-text.ts',
    breaks: 'section 11',
    find: 'return parts.digits.length <= DIGITS_MAX && ',
    put: 'return ',
    suite: values,
  },
];
