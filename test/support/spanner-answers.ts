import { PassThrough } from 'node:stream';
import type { protos } from '@google-cloud/spanner';
import type { Store } from '../../connectors/sink-spanner/transaction.ts';

/** Of a request, as far as tests look at it. */
export type Asked = {
  readonly table?: string;
  readonly sql?: string;
  readonly keySet?: protos.google.spanner.v1.IKeySet;
  readonly mutations?: readonly protos.google.spanner.v1.IMutation[];
};

/** Answers a request with an error of that status where `answer` tells one, instead of the service. */
export function answerBefore({ client }: Store, answer: (method: string, asked: Asked) => number | null): void {
  const sendRaw = client.sendRaw.bind(client);
  client.sendRaw = (signal, work) =>
    sendRaw(signal, ({ data, admin }, options) => {
      const before = new Proxy(data, {
        get(target, name) {
          const own: unknown = Reflect.get(target, name);
          if (typeof own !== 'function') return own;
          return (asked: Asked, ...more: readonly unknown[]): unknown => {
            const status = answer(String(name), asked);
            if (status === null) return own.call(target, asked, ...more) as unknown;
            const error = Object.assign(new Error('refused by the test'), { code: status });
            if (name === 'commit') return Promise.reject(error);
            const stream = new PassThrough({ objectMode: true });
            stream.destroy(error);
            return Object.assign(stream, { cancel: () => undefined });
          };
        },
      });
      return work({ data: before, admin }, options);
    });
}
