import type { DatabaseAdminClient, SpannerClient } from '@google-cloud/spanner/build/src/v1/index.js';
import type { ClientOptions } from 'google-gax';
import { CausewayError } from '#core/errors.ts';
import type { Runtime } from '#core/runtime.ts';
import { orAborted } from '../lib/time/or-aborted.ts';
import type { SinkConfig } from './config.ts';
import { spannerError } from './errors.ts';

/** Of one request. The client's own limits are hours. */
const REQUEST_MS = 15_000;
const SERVICE = 'spanner.googleapis.com';
const HTTPS_PORT = 443;
const SCOPE = 'https://www.googleapis.com/auth/cloud-platform';

/** With each request: it is sent once, since who asked knows what may be repeated. */
export type CallOptions = { readonly timeout: number; readonly retry: { readonly retryCodes: number[] } };

type Clients = { readonly data: SpannerClient; readonly admin: DatabaseAdminClient };

/**
 * The generated clients of the two services, data and schema. The library's hand-written client is passed over: it tries again for an
 * hour by itself, keeps sessions that it does not give back after an error, and sends metrics of its own. It is loaded at the first
 * request, because it takes 50 MB.
 */
export class Client implements AsyncDisposable {
  readonly runtime: Runtime;
  /** The database's resource name. */
  readonly database: string;
  readonly #config: SinkConfig;
  #clients: Promise<Clients> | null = null;

  constructor({ config, runtime }: { readonly config: SinkConfig; readonly runtime: Runtime }) {
    this.runtime = runtime;
    this.database = `projects/${config.project}/instances/${config.instance}/databases/${config.database}`;
    this.#config = config;
  }

  /** `what` is the table or the request, for people. Errors: `sink_…`, by the service's code. */
  async send<T>(what: string, signal: AbortSignal, work: (clients: Clients, options: CallOptions) => Promise<T>): Promise<T> {
    try {
      return await this.sendRaw(signal, work);
    } catch (error) {
      signal.throwIfAborted();
      throw spannerError(error, what);
    }
  }

  /** As `send`, with the service's own errors. */
  async sendRaw<T>(signal: AbortSignal, work: (clients: Clients, options: CallOptions) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    return await orAborted(signal, async () => work(await this.#loaded(), { timeout: REQUEST_MS, retry: { retryCodes: [] } }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const clients = await this.#clients?.catch(() => null);
    this.#clients = null;
    if (clients === null || clients === undefined) return;
    await Promise.all([clients.data.close(), clients.admin.close()]);
  }

  async #loaded(): Promise<Clients> {
    this.#clients ??= load(this.#config);
    const loading = this.#clients;
    try {
      return await loading;
    } catch (error) {
      // Credentials that were not to be had are looked for again at the next request.
      if (this.#clients === loading) this.#clients = null;
      throw error;
    }
  }
}

async function load(config: SinkConfig): Promise<Clients> {
  const [{ SpannerClient, DatabaseAdminClient }, options] = await Promise.all([
    import('@google-cloud/spanner/build/src/v1/index.js'),
    clientOptions(config),
  ]);
  const clients = { data: new SpannerClient(options), admin: new DatabaseAdminClient(options) };
  try {
    await Promise.all([clients.data.initialize(), clients.admin.initialize()]);
    return clients;
  } catch {
    await Promise.allSettled([clients.data.close(), clients.admin.close()]);
    // The library's words can hold what stands in the file.
    const from = config.keyFile === undefined ? "Google's default credentials" : `the key file ${config.keyFile}`;
    throw new CausewayError('sink_credentials', `no credentials for Spanner are to be had from ${from}`);
  }
}

async function clientOptions({ project, endpoint, keyFile }: SinkConfig): Promise<ClientOptions> {
  const url = endpoint === undefined ? null : new URL(endpoint);
  const isPlain = url?.protocol === 'http:';
  const options: ClientOptions = {
    projectId: project,
    // Otherwise a read that is refused is asked for again, for seven seconds, whatever `retry` says.
    gaxServerStreamingRetries: true,
    servicePath: url?.hostname ?? SERVICE,
    port: url === null || url.port === '' ? HTTPS_PORT : Number(url.port),
  };
  const { grpc, googleAuthLibrary } = await import('google-gax');
  if (!isPlain && keyFile !== undefined) return { ...options, auth: new googleAuthLibrary.GoogleAuth({ keyFile, scopes: SCOPE }) };
  if (!isPlain) return options;
  // Without this client it would look for credentials on the network, which a plain connection cannot carry.
  return { ...options, sslCreds: grpc.credentials.createInsecure(), authClient: new googleAuthLibrary.PassThroughClient() };
}
