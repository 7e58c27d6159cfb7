// A proxy that speaks HTTP/2 before the Spanner emulator. It does what the service does and the emulator does not, it answers requests with
// a status of gRPC before their effect or behind it, and it keeps account of what the emulator acknowledged. Headers, trailers and frames:
// "gRPC over HTTP2" (github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
import {
  connect,
  constants,
  createSecureServer,
  createServer,
  type ClientHttp2Session,
  type Http2SecureServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { Certificate } from './certificates.ts';

export type SpannerFault =
  | {
      /** `behind`: it takes effect, and is answered so all the same. */
      readonly effect: 'none' | 'behind';
      readonly status: number;
      /** What the answer asks to wait for before the next attempt (google.rpc.RetryInfo). */
      readonly retryMs?: number;
    }
  /** Never answered; `hang behind`: though it takes effect. */
  | { readonly effect: 'hang' | 'hang behind' };

const prefixBytes = 5;

export class SpannerProxy implements AsyncDisposable {
  readonly port: number;
  /** Asked for each request before it goes on, with its method, such as `Commit`, and its headers. Null lets it pass. */
  onRequest: (method: string, headers: IncomingHttpHeaders) => SpannerFault | null = () => null;
  /** Told of each commit that the store acknowledged, whether or not who asked for it is: the message of its request. */
  onCommitted: (request: Buffer) => void = () => undefined;
  /** Done in place of the deletion of a session, with the message of its request; then that is answered with OK. Null lets it pass. */
  onDeleteSession: ((request: Buffer) => Promise<void>) | null = null;
  readonly #server: Http2Server | Http2SecureServer;
  readonly #isSecure: boolean;
  readonly #target: string;
  readonly #sessions = new Map<ServerHttp2Session, ClientHttp2Session>();
  #struck = 0;

  private constructor(
    server: Http2Server | Http2SecureServer,
    { target, isSecure }: { readonly target: string; readonly isSecure: boolean },
  ) {
    this.#server = server;
    this.#isSecure = isSecure;
    this.#target = target;
    this.port = (server.address() as AddressInfo).port;
    server.on('session', (session) => this.#join(session));
    server.on('stream', (stream, headers) => this.#carry(stream, headers));
  }

  /** `target`: the endpoint of an emulator. With a certificate, which has to be one for `localhost`, it takes connections over TLS alone. */
  static async create(target: string, certificate: Certificate | null = null): Promise<SpannerProxy> {
    const server = certificate === null ? createServer() : createSecureServer({ ...certificate });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new SpannerProxy(server, { target, isSecure: certificate !== null });
  }

  get endpoint(): string {
    return this.#isSecure ? `https://localhost:${this.port}` : `http://127.0.0.1:${this.port}`;
  }

  /** From now on everything passes. Returns how many requests had been struck. */
  heal(): number {
    this.onRequest = () => null;
    const struck = this.#struck;
    this.#struck = 0;
    return struck;
  }

  /** One connection to the store for each one of a client, so that they end together. */
  #join(session: ServerHttp2Session): void {
    const onwards = connect(this.#target);
    this.#sessions.set(session, onwards);
    onwards.on('error', () => session.destroy());
    onwards.on('close', () => session.destroy());
    session.on('error', () => onwards.destroy());
    session.on('close', () => {
      this.#sessions.delete(session);
      onwards.destroy();
    });
  }

  #carry(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    const onwards = stream.session === undefined ? undefined : this.#sessions.get(stream.session as ServerHttp2Session);
    stream.on('error', () => undefined);
    if (onwards === undefined || onwards.destroyed) {
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
      return;
    }
    const method = String(headers[':path']).replace(/^.*\//, '');
    const fault = this.onRequest(method, headers);
    if (fault !== null) this.#struck += 1;
    if (fault?.effect === 'none') {
      answer(stream, fault);
      return;
    }
    if (fault?.effect === 'hang') {
      stream.resume();
      return;
    }
    if (method === 'DeleteSession' && this.onDeleteSession !== null) {
      replace(stream, this.onDeleteSession);
      return;
    }
    const asked = onwards.request(headers);
    const pieces: Buffer[] = [];
    stream.on('data', (piece: Buffer) => pieces.push(piece));
    stream.pipe(asked);
    stream.on('close', () => asked.close(constants.NGHTTP2_CANCEL));
    asked.on('error', () => stream.close(constants.NGHTTP2_INTERNAL_ERROR));
    let trailers: IncomingHttpHeaders = {};
    asked.on('trailers', (found: IncomingHttpHeaders) => {
      trailers = found;
    });
    asked.on('end', () => {
      if (method === 'Commit' && trailers['grpc-status'] === '0') this.onCommitted(messageOf(pieces));
    });
    if (fault !== null) {
      asked.resume();
      if ('status' in fault) asked.on('close', () => answer(stream, fault));
      return;
    }
    asked.on('response', (found, flags) => {
      if (stream.destroyed) return;
      const isAll = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
      stream.respond(found, isAll ? { endStream: true } : { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers(trailers));
      if (isAll) asked.resume();
      else asked.pipe(stream);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const [session, onwards] of this.#sessions) {
      session.destroy();
      onwards.destroy();
    }
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

/** Without a message. */
function answer(stream: ServerHttp2Stream, { status, retryMs }: { readonly status: number; readonly retryMs?: number }): void {
  if (stream.destroyed) return;
  stream.resume();
  const details = retryMs === undefined ? {} : { 'grpc-status-details-bin': retryDetails(status, retryMs).toString('base64') };
  stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': String(status), ...details }, { endStream: true });
}

/** google.rpc.Status with one google.rpc.RetryInfo, whose delay is a google.protobuf.Duration, as protocol buffers have them. */
function retryDetails(status: number, retryMs: number): Buffer {
  const nanos = Math.round((retryMs % 1_000) * 1_000_000);
  const delay = [number(1, Math.floor(retryMs / 1_000)), number(2, nanos)];
  const any = [bytes(1, Buffer.from('type.googleapis.com/google.rpc.RetryInfo')), bytes(2, bytes(1, Buffer.concat(delay)))];
  return Buffer.concat([number(1, status), bytes(3, Buffer.concat(any))]);
}

function bytes(field: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(field << 3) | 2, value.length]), value]);
}

function number(field: number, value: number): Buffer {
  const groups = Array.from({ length: 5 }, (_, at) => Math.floor(value / 128 ** at)).filter((rest, at) => at === 0 || rest > 0);
  return Buffer.from([field << 3, ...groups.map((rest, at) => (rest % 128) | (at === groups.length - 1 ? 0 : 0x80))]);
}

function replace(stream: ServerHttp2Stream, work: (request: Buffer) => Promise<void>): void {
  const pieces: Buffer[] = [];
  stream.on('data', (piece: Buffer) => pieces.push(piece));
  stream.on('end', () => {
    work(messageOf(pieces)).then(
      () => {
        if (stream.destroyed) return;
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
        // A message without a field.
        stream.end(Buffer.alloc(prefixBytes));
      },
      () => stream.close(constants.NGHTTP2_INTERNAL_ERROR),
    );
  });
}

/** Of frames that hold one message, which is not compressed. */
function messageOf(pieces: readonly Buffer[]): Buffer {
  const bytes = Buffer.concat(pieces);
  if (bytes[0] !== 0 || bytes.readUInt32BE(1) !== bytes.length - prefixBytes) throw new Error('a message that this proxy cannot read');
  return bytes.subarray(prefixBytes);
}
