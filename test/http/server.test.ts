import { connect } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { metricsRoutes, statusRoutes, type Views } from '../../src/http/routes.ts';
import { serve, type HttpServer, type Routes } from '../../src/http/server.ts';
import type { StatusDocument } from '../../src/http/status-document.ts';
import { createMetrics } from '../../src/metrics/registry.ts';

const opened: HttpServer[] = [];
afterEach(async () => {
  for (const server of opened.splice(0)) await server[Symbol.asyncDispose]();
});

async function listening(routes: Routes, errors: unknown[] = []): Promise<{ readonly url: string; readonly port: number }> {
  const server = await serve({ host: '127.0.0.1', port: 0, routes, onError: (error) => errors.push(error) }, new AbortController().signal);
  opened.push(server);
  return { url: `http://127.0.0.1:${server.port}`, port: server.port };
}

/** What the server answers to bytes that are no proper request. */
function raw(port: number, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    let answer = '';
    socket.on('data', (chunk) => (answer += chunk.toString('latin1')));
    socket.on('close', () => resolve(answer));
    socket.on('error', reject);
  });
}

const document: StatusDocument = {
  apiVersion: 'causeway/v1',
  kind: 'Status',
  version: '1',
  process: 'host:1',
  startedAtWallMs: 0,
  writtenAtWallMs: 0,
  pipelines: [
    {
      name: 'orders',
      state: 'failed',
      trouble: { code: 'source_slot_lost', message: '<script>alert(1)</script>', mend: 'see docs', sinceWallMs: 0 },
      roles: ['capture', 'apply'],
      lease: null,
      epoch: 1,
      position: '0/1',
      sourceTimeMicros: null,
      clockSkewMs: null,
      slot: null,
      log: null,
      tables: [],
      refused: [],
      loadsHeld: null,
      loads: [
        {
          ...{ table: 'public.<orders>', sink: null, state: 'reading', paused: false, rows: 250, bytes: 25_000, rowsExpected: 1_000 },
          ...{ percent: 25, secondsLeft: 3, startedAtWallMs: 1 },
        },
      ],
      sinks: [],
    },
  ],
};

const views = (more: Partial<Views> = {}): Views => ({ live: () => true, ready: () => true, status: () => document, ...more });

test('probes, status and metrics answer, each with its own type', async () => {
  const { url } = await listening(
    new Map([...statusRoutes(views()), ...metricsRoutes(createMetrics({ version: '1', nodeVersion: 'v', nodeDefaults: true }))]),
  );
  expect((await fetch(`${url}/livez`)).status).toBe(200);
  expect((await fetch(`${url}/readyz?verbose`)).status).toBe(200);
  expect(await (await fetch(`${url}/api/v1/status`)).json()).toEqual(document);
  const metrics = await fetch(`${url}/metrics`);
  expect(metrics.headers.get('content-type')).toContain('text/plain; version=0.0.4');
  expect(await metrics.text()).toContain('nodejs_eventloop_lag_seconds');
});

test('the page shows what is wrong, and nothing of it as markup', async () => {
  const { url } = await listening(statusRoutes(views()));
  const page = await (await fetch(`${url}/status`)).text();
  expect(page).toContain('degraded');
  expect(page).toContain('&#60;script&#62;');
  expect(page).not.toContain('<script>');
});

test('not ready and not live are 503', async () => {
  const { url } = await listening(statusRoutes(views({ ready: () => false, live: () => false })));
  expect((await fetch(`${url}/readyz`)).status).toBe(503);
  expect((await fetch(`${url}/livez`)).status).toBe(503);
});

test('other paths and methods are refused: nothing is changed over HTTP', async () => {
  const { url } = await listening(statusRoutes(views()));
  expect((await fetch(`${url}/nothing`)).status).toBe(404);
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) {
    const answer = await fetch(`${url}/status`, { method, ...(method === 'POST' ? { body: 'x'.repeat(100_000) } : {}) });
    expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
  }
  const head = await fetch(`${url}/livez`, { method: 'HEAD' });
  expect([head.status, await head.text(), head.headers.get('content-length')]).toEqual([200, '', '3']);
});

test('what is no request is answered and ended', async () => {
  const { port, url } = await listening(statusRoutes(views()));
  expect(await raw(port, 'nonsense\r\n\r\n')).toMatch(/^HTTP\/1.1 400 /);
  expect(await raw(port, `GET /livez HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(20_000)}\r\n\r\n`)).toMatch(/^HTTP\/1.1 431 /);
  expect(await raw(port, 'GET http://[ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')).toMatch(/^HTTP\/1.1 400 /);
  expect((await fetch(`${url}/livez`)).status).toBe(200);
});

test('a route that fails is an error of ours, of which the client learns nothing', async () => {
  const errors: unknown[] = [];
  const routes: Routes = new Map([['/x', () => Promise.reject(new Error('postgres://u:secret@h/d'))]]);
  const { url } = await listening(routes, errors);
  const answer = await fetch(`${url}/x`);
  expect([answer.status, await answer.text()]).toEqual([500, 'internal error\n']);
  expect(errors).toHaveLength(1);
});

test('a port that is taken is an error', async () => {
  const { port } = await listening(new Map());
  const second = serve({ host: '127.0.0.1', port, routes: new Map(), onError: () => undefined }, new AbortController().signal);
  await expect(second).rejects.toMatchObject({ code: 'EADDRINUSE' });
});
