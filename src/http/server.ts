import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

/** What a path answers. */
export type Answer = { readonly status: number; readonly contentType: string; readonly body: string };
export type Routes = ReadonlyMap<string, () => Answer | Promise<Answer>>;

export interface HttpServer extends AsyncDisposable {
  readonly host: string;
  /** The port that was really taken. */
  readonly port: number;
}

/** Nobody needs more to read a page of status. */
const HEADER_BYTES_MAX = 8 * 1024;
const REQUEST_MS_MAX = 10_000;
const CONNECTIONS_MAX = 64;

const HEADERS = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
} as const;

/** Serves GET and HEAD on the routes and nothing else: there is no request that changes anything. */
export async function serve(
  options: {
    readonly host: string;
    readonly port: number;
    readonly routes: Routes;
    /** Told of a route that failed; the client learns no more than that. */
    readonly onError: (error: unknown) => void;
  },
  signal: AbortSignal,
): Promise<HttpServer> {
  signal.throwIfAborted();
  const server = createServer(
    { maxHeaderSize: HEADER_BYTES_MAX, headersTimeout: REQUEST_MS_MAX, requestTimeout: REQUEST_MS_MAX, keepAliveTimeout: REQUEST_MS_MAX },
    (request, response) => {
      // A body is never read, so it must not keep the connection.
      request.resume();
      respond(request, options.routes)
        .catch((error: unknown): Answer => {
          options.onError(error);
          return text(500, 'internal error\n');
        })
        .then((answer) => send(request, response, answer))
        .catch(options.onError);
    },
  );
  server.maxConnections = CONNECTIONS_MAX;
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (error.code === 'ECONNRESET' || !socket.writable) return;
    const status = error.code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request';
    socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  });
  await listen(server, options);
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : options.port;
  return {
    host: options.host,
    port,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function listen(server: Server, { host, port }: { readonly host: string; readonly port: number }): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}

async function respond(request: IncomingMessage, routes: Routes): Promise<Answer> {
  const base = 'http://localhost';
  if (request.url === undefined || !URL.canParse(request.url, base)) return text(400, 'bad request\n');
  const route = routes.get(new URL(request.url, base).pathname);
  if (route === undefined) return text(404, 'not found\n');
  if (request.method !== 'GET' && request.method !== 'HEAD') return text(405, 'only GET: nothing is changed over HTTP\n');
  return route();
}

function send(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  const body = Buffer.from(answer.body);
  response.writeHead(answer.status, {
    ...HEADERS,
    'content-type': answer.contentType,
    'content-length': body.length,
    ...(answer.status === 405 ? { allow: 'GET, HEAD' } : {}),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

export function text(status: number, body: string): Answer {
  return { status, contentType: 'text/plain; charset=utf-8', body };
}

export function json(status: number, value: unknown): Answer {
  return { status, contentType: 'application/json; charset=utf-8', body: `${JSON.stringify(value)}\n` };
}

export function html(status: number, body: string): Answer {
  return { status, contentType: 'text/html; charset=utf-8', body };
}
