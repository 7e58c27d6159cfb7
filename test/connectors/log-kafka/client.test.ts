import { expect, it } from 'vitest';
import { withColons, withoutColons } from '../../../connectors/log-kafka/client.ts';

it('an IPv6 address goes through kafkajs, which cuts addresses at their first colon', () => {
  const cut = withoutColons('[2001:db8::7]:9092').split(':');
  expect(cut[1]).toBe('9092');
  expect(withColons(cut[0] ?? '')).toBe('2001:db8::7');
  expect(withoutColons('kafka_1:9092')).toBe('kafka_1:9092');
  expect(withColons('kafka_1')).toBe('kafka_1');
  // As brokers name themselves.
  expect(withColons('::1')).toBe('::1');
});
