// What the proxy of the tests does to connections, over a server that gives every piece back.
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { TcpProxy } from '../support/tcp-proxy.ts';

const soon = { timeout: 10_000, interval: 5 };

describe('the TCP proxy', () => {
  let server: Server;
  let proxy: TcpProxy;
  let client: Socket;
  let atServer: string;
  let atClient: string;
  let serverClosed: number;
  let clientClosed: number;
  let opened: Socket[];

  const open = (): Socket => {
    const socket = connect({ host: '127.0.0.1', port: proxy.port });
    socket.on('error', () => undefined);
    socket.on('data', (piece) => (atClient += piece.toString()));
    socket.on('close', () => (clientClosed += 1));
    opened.push(socket);
    return socket;
  };

  beforeEach(async () => {
    [atServer, atClient, serverClosed, clientClosed, opened] = ['', '', 0, 0, []];
    server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('close', () => (serverClosed += 1));
      socket.on('data', (piece) => {
        atServer += piece.toString();
        socket.write(piece);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    proxy = await TcpProxy.create({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
    client = open();
    await once(client, 'connect');
    client.write('a');
    await expect.poll(() => atClient, soon).toBe('a');
  });

  afterEach(async () => {
    for (const socket of opened) socket.destroy();
    await expect.poll(() => clientClosed, soon).toBe(opened.length);
    await proxy[Symbol.asyncDispose]();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });

  test('cuts what is open and what is tried meanwhile', async () => {
    proxy.strike({ tag: 'cut' });
    open();
    await expect.poll(() => [clientClosed, serverClosed], soon).toEqual([2, 1]);
    expect(proxy.heal()).toBe(2);
    open().write('b');
    await expect.poll(() => atClient, soon).toBe('ab');
  });

  test('delays each piece on both ways and keeps the order, also of what comes when it is over', async () => {
    proxy.strike({ tag: 'delay', ms: 100 });
    const startedAt = performance.now();
    client.write('b');
    await expect.poll(() => atClient, soon).toBe('ab');
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(199);
    let asked = '';
    proxy.onRequest = (piece) => {
      asked += piece.toString();
      return 'pass';
    };
    client.write('c');
    await expect.poll(() => asked, soon).toBe('c');
    // The answer to it meets no delay any more.
    expect(proxy.heal()).toBe(3);
    client.write('d');
    await expect.poll(() => atClient, soon).toBe('abcd');
  });

  test('swallows one direction, the end of the client too, and lets it arrive late', async () => {
    proxy.strike({ tag: 'black hole', direction: 'to the server' });
    client.write('b');
    client.destroy();
    await expect.poll(() => clientClosed, soon).toBe(1);
    const other = open();
    await once(other, 'connect');
    expect([atServer, serverClosed]).toEqual(['a', 0]);
    expect(proxy.heal()).toBe(2);
    await expect.poll(() => [atServer, serverClosed], soon).toEqual(['ab', 1]);
  });

  test('swallows the other direction while requests go through', async () => {
    proxy.strike({ tag: 'black hole', direction: 'to the client' });
    client.write('b');
    await expect.poll(() => atServer, soon).toBe('ab');
    client.write('c');
    await expect.poll(() => atServer, soon).toBe('abc');
    expect(atClient).toBe('a');
    proxy.heal();
    await expect.poll(() => atClient, soon).toBe('abc');
  });

  test('loses the reply of what took effect, and nothing without a request', async () => {
    proxy.strike({ tag: 'lost reply' });
    expect(proxy.heal()).toBe(0);
    proxy.strike({ tag: 'lost reply' });
    client.write('b');
    await expect.poll(() => clientClosed, soon).toBe(1);
    expect([atServer, atClient, proxy.heal()]).toEqual(['ab', 'a', 1]);
  });
});
