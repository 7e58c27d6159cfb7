import { readFile } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { CausewayError } from '#core/errors.ts';
import type { Config } from './config.ts';
import { connectionError } from './errors.ts';

/** A page of a list: 50 ConfigMaps of 1 MiB and their wrapping. */
const ANSWER_BYTES_MAX = 128 * 1024 * 1024;
const SOCKETS_MAX = 8;
const FIELD_MANAGER = 'causeway';

export type Call = {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** Below the server's address, without the query. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
};

export type Answer = { readonly status: number; readonly body: unknown };

/** The API server, as the pod's service account reaches it. One request a call, never a second one. */
export class ApiServer implements Disposable {
  readonly #config: Config;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: SOCKETS_MAX });

  constructor(config: Config) {
    this.#config = config;
  }

  get what(): string {
    return `the control store at ${this.#config.server}`;
  }

  async namespace(signal: AbortSignal): Promise<string> {
    return this.#config.namespace ?? (await this.#file('namespace', signal)).trim();
  }

  /** Errors: `control_credentials`, `control_unavailable`, `control_foreign`. Any answer of the server is returned. */
  async send(call: Call, signal: AbortSignal): Promise<Answer> {
    // Tokens are replaced once an hour, authorities from time to time.
    const token = (await this.#file('token', signal)).trim();
    const ca = await this.#file('ca.crt', signal);
    const url = new URL(this.#config.server.replace(/\/$/, '') + call.path);
    url.search = new URLSearchParams({ ...call.query, ...(call.method === 'GET' ? {} : { fieldManager: FIELD_MANAGER }) }).toString();
    const body = call.body === undefined ? null : Buffer.from(JSON.stringify(call.body), 'utf8');
    const type = call.method === 'PATCH' ? 'application/json-patch+json' : 'application/json';
    const headers = {
      authorization: `Bearer ${token}`,
      accept: 'application/json',
      // Without its length Node.js sends the body of a DELETE behind a request that says it has none, and the preconditions are lost.
      ...(body === null ? {} : { 'content-type': type, 'content-length': body.byteLength }),
    };
    const answered = Promise.withResolvers<Answer>();
    const outgoing = request(url, { method: call.method, agent: this.#agent, ca, headers, signal }, (response) => {
      const pieces: Buffer[] = [];
      let bytes = 0;
      response.on('data', (piece: Buffer) => {
        bytes += piece.length;
        if (bytes > ANSWER_BYTES_MAX) {
          const words = `${this.what}: an answer of more than ${ANSWER_BYTES_MAX} bytes`;
          response.destroy(new CausewayError('control_foreign', words));
        } else pieces.push(piece);
      });
      response.on('error', (error) => answered.reject(error));
      response.on('end', () => answered.resolve({ status: response.statusCode ?? 0, body: parsed(Buffer.concat(pieces)) }));
    });
    outgoing.on('error', (error) => answered.reject(error));
    outgoing.end(body ?? undefined);
    try {
      return await answered.promise;
    } catch (error) {
      signal.throwIfAborted();
      throw connectionError(error, this.what);
    }
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  async #file(name: string, signal: AbortSignal): Promise<string> {
    const path = join(this.#config.serviceAccount, name);
    try {
      return await readFile(path, { encoding: 'utf8', signal });
    } catch (error) {
      signal.throwIfAborted();
      const reason = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
      throw new CausewayError('control_credentials', `${path} cannot be read: ${reason}`);
    }
  }
}

/** Null for what is no JSON: no API server says that. */
function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown;
  } catch {
    return null;
  }
}
