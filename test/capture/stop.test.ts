import { expect, test } from 'vitest';
import type { Source } from '#core/source.ts';
import { FakeSource } from '../support/fake-source.ts';
import { World } from './world.ts';

test('a stop acknowledges what it stored, on a connection that is ended by disposing of it and by nothing before', async () => {
  const world = new World();
  const seen: string[] = [];
  const inner = new FakeSource(world.database);
  const source: Source = Object.assign(Object.create(inner) as Source, {
    open: async (signal: AbortSignal) => {
      const stream = await inner.open(signal);
      const messages = stream.messages.bind(stream);
      const dispose = stream[Symbol.asyncDispose].bind(stream);
      const acknowledge = stream.acknowledge.bind(stream);
      return Object.assign(stream, {
        messages: (pulled: AbortSignal) => {
          pulled.addEventListener('abort', () => seen.push('aborted'));
          return messages(pulled);
        },
        acknowledge: (position: Parameters<typeof acknowledge>[0]) => {
          seen.push(`acknowledged ${position}`);
          acknowledge(position);
        },
        [Symbol.asyncDispose]: async () => {
          seen.push('disposed');
          await dispose();
        },
      });
    },
  });
  for (const name of Object.getOwnPropertyNames(FakeSource.prototype)) {
    const method: unknown = Reflect.get(inner, name);
    if (name !== 'open' && typeof method === 'function') Object.assign(source, { [name]: method.bind(inner) as unknown });
  }
  const process = await world.startStreaming({ source, options: { checkpointIntervalMs: 3_600_000 } });
  seen.length = 0;
  await world.stopped(process);
  expect(seen.slice(0, 3)).toEqual([`acknowledged ${world.checkpoint.position}`, 'disposed', 'aborted']);
  expect(String(world.database.slot?.position)).toBe(world.checkpoint.position);
});
