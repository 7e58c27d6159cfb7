// Requests to the daemon's endpoints, byte by byte as a stranger could send them.
import { connect } from 'node:net';
import { metricsRoutes, statusRoutes } from '../../../src/http/routes.ts';
import { serve } from '../../../src/http/server.ts';
import type { StatusDocument } from '../../../src/http/status-document.ts';
import { createMetrics } from '../../../src/metrics/registry.ts';
import type { Chance } from '../chance.ts';
import { MARKER, type Reaction, type Target } from '../target.ts';

const document: StatusDocument = {
  apiVersion: 'causeway/v1',
  kind: 'Status',
  version: '1',
  process: 'host:1',
  startedAtWallMs: 0,
  writtenAtWallMs: 0,
  pipelines: [],
};

const paths = [
  '/',
  '/livez',
  '/readyz',
  '/metrics',
  '/status',
  '/api/v1/status',
  '//',
  '/../etc/passwd',
  '/%00',
  '/%zz',
  '*',
  'http://x/livez',
  '',
];
const methods = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'CONNECT', 'TRACE', 'get', 'PRI', 'G ET', ''];

function request(chance: Chance): Buffer {
  const path =
    chance.among(paths) + (chance.is(0.4) ? chance.among([`?${MARKER}`, `/${MARKER}`, `#${MARKER}`, '?a=%', '/'.repeat(9_000)]) : '');
  const version = chance.among(['HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/2.0', 'HTTP/0.9', 'HTP']);
  const headers = [
    ...(chance.is(0.9) ? ['Host: localhost'] : []),
    ...(chance.is(0.5) ? [`X-Value: ${MARKER}`] : []),
    ...(chance.is(0.2)
      ? [chance.among(['Content-Length: 5', 'Content-Length: -1', 'Content-Length: 99999999999', 'Content-Length: 3\r\nContent-Length: 4'])]
      : []),
    ...(chance.is(0.2)
      ? [
          chance.among([
            'Transfer-Encoding: chunked',
            'Transfer-Encoding: x',
            'Expect: 100-continue',
            'Upgrade: websocket\r\nConnection: Upgrade',
          ]),
        ]
      : []),
    ...(chance.is(0.1) ? [`Y: ${'y'.repeat(chance.below(20_000))}`] : []),
    ...(chance.is(0.1) ? Array.from({ length: chance.below(300) }, (_, index) => `Z${index}: 1`) : []),
  ];
  const body = chance.is(0.3) ? chance.among([MARKER, '5\r\nhello\r\n0\r\n\r\n', 'ffffffffffffffff\r\n', '\u0000\u0001']) : '';
  return Buffer.from(`${chance.among(methods)} ${path} ${version}\r\n${headers.join('\r\n')}\r\n\r\n${body}`, 'latin1');
}

export async function httpTarget(): Promise<Target> {
  const errors: unknown[] = [];
  const metrics = createMetrics({ version: '1', nodeVersion: 'v', nodeDefaults: false });
  const routes = new Map([...statusRoutes({ live: () => true, ready: () => true, status: () => document }), ...metricsRoutes(metrics)]);
  const server = await serve({ host: '127.0.0.1', port: 0, routes, onError: (error) => errors.push(error) }, new AbortController().signal);
  return {
    name: 'http',
    weight: 20,
    form: 'txt',
    make(chance) {
      const bytes = request(chance);
      return chance.is(0.6) ? bytes : chance.damaged(bytes, [bytes]);
    },
    async react(input): Promise<Reaction> {
      const answer = await send(server.port, input);
      if (answer !== '' && !/^HTTP\/1\.1 (100|200|400|404|405|408|413|417|431) /.test(answer))
        throw new Error(`answers ${JSON.stringify(answer.slice(0, 80))}`);
      const alive = await send(server.port, Buffer.from('GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'));
      if (!alive.startsWith('HTTP/1.1 200 ')) throw new Error('does not answer any more');
      if (errors.length > 0) throw new Error('a route failed', { cause: errors.splice(0)[0] });
      return { said: [answer] };
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** Sends the bytes, says that nothing more comes, and reads to the end. A connection that is broken off is an end too. */
function send(port: number, bytes: Buffer): Promise<string> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect({ port, host: '127.0.0.1' }, () => socket.end(bytes));
    socket.on('data', (chunk) => (answer += chunk.toString('latin1')));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(answer));
  });
}
