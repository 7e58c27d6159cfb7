import { readFile } from 'node:fs/promises';
import type { DatabaseAdminClient, SpannerClient } from '@google-cloud/spanner/build/src/v1/index.js';
import type { ClientOptions, googleAuthLibrary } from 'google-gax';
import { present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import type { Runtime } from '#core/runtime.ts';
import { orAborted } from '../lib/time/or-aborted.ts';
import type { SinkConfig } from './config.ts';
import { spannerError, statusOf, UNAUTHENTICATED, withoutToken } from './errors.ts';

/** Of one request. The client's own limits are hours. */
const REQUEST_MS = 15_000;
const SERVICE = 'spanner.googleapis.com';
const HTTPS_PORT = 443;
const SCOPE = 'https://www.googleapis.com/auth/cloud-platform';

/** With each request: it is sent once, since who asked knows what may be repeated. */
export type CallOptions = { readonly timeout: number; readonly retry: { readonly retryCodes: number[] } };

/** google.spanner.admin.instance.v1.Instance, as far as it is used. */
export type FoundInstance = {
  readonly config?: string | null;
  readonly state?: string | number | null;
  readonly nodeCount?: number | null;
  readonly processingUnits?: number | null;
};

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
    return await orAborted(signal, async () => {
      const loading = this.#loading();
      const clients = await loading;
      try {
        return await work(clients, { timeout: REQUEST_MS, retry: { retryCodes: [] } });
      } catch (error) {
        if (statusOf(error) === UNAUTHENTICATED) await this.#forget(loading);
        throw error;
      }
    });
  }

  /** The instance of that resource name, as it is now, by a client that only `check` needs. Throws the service's own errors. */
  async instance(name: string, signal: AbortSignal): Promise<FoundInstance> {
    return await this.sendRaw(signal, async (_clients, options) => {
      const { InstanceAdminClient } = await import('@google-cloud/spanner/build/src/v1/index.js');
      const instances = new InstanceAdminClient(await clientOptions(this.#config));
      try {
        const [found] = await instances.getInstance({ name }, options);
        return { ...found, state: String(found.state) };
      } finally {
        await instances.close();
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#clients !== null) await this.#forget(this.#clients);
  }

  #loading(): Promise<Clients> {
    if (this.#clients !== null) return this.#clients;
    const loading = load(this.#config);
    this.#clients = loading;
    loading.catch(() => this.#forget(loading));
    return loading;
  }

  /** Credentials that were not to be had, or are refused, are looked for again at the next request: a file can hold others by then. */
  async #forget(loading: Promise<Clients>): Promise<void> {
    if (this.#clients !== loading) return;
    this.#clients = null;
    const clients = await loading.catch(() => null);
    if (clients !== null) await Promise.all([clients.data.close(), clients.admin.close()]);
  }
}

async function load(config: SinkConfig): Promise<Clients> {
  const { SpannerClient, DatabaseAdminClient } = await import('@google-cloud/spanner/build/src/v1/index.js');
  const clients: (SpannerClient | DatabaseAdminClient)[] = [];
  try {
    const options = await clientOptions(config);
    const [data, admin] = [new SpannerClient(options), new DatabaseAdminClient(options)];
    clients.push(data, admin);
    await Promise.all([data.initialize(), admin.initialize()]);
    return { data, admin };
  } catch {
    await Promise.allSettled(clients.map((client) => client.close()));
    // The library's words can hold what stands in the file.
    const from = config.keyFile === undefined ? "Google's default credentials" : `the key file ${config.keyFile}`;
    throw new CausewayError('sink_credentials', `no credentials for Spanner are to be had from ${from}`);
  }
}

async function clientOptions({ project, endpoint, keyFile }: SinkConfig): Promise<ClientOptions> {
  const url = endpoint === undefined ? null : new URL(endpoint);
  const options: ClientOptions = {
    projectId: project,
    // Otherwise a read that is refused is asked for again, for seven seconds, whatever `retry` says.
    gaxServerStreamingRetries: true,
    servicePath: url?.hostname ?? SERVICE,
    port: url === null || url.port === '' ? HTTPS_PORT : Number(url.port),
  };
  const { grpc, googleAuthLibrary } = await import('google-gax');
  if (url?.protocol === 'http:') {
    // Without this client it would look for credentials on the network, which a plain connection cannot carry.
    return { ...options, sslCreds: grpc.credentials.createInsecure(), authClient: new googleAuthLibrary.PassThroughClient() };
  }
  const authClient =
    keyFile === undefined
      ? await new googleAuthLibrary.GoogleAuth({ scopes: SCOPE }).getClient()
      : await ofFile(googleAuthLibrary, keyFile);
  const headersOf = authClient.getRequestHeaders.bind(authClient);
  authClient.getRequestHeaders = async (of) => {
    try {
      return await headersOf(of);
    } catch (error) {
      throw withoutToken(error);
    }
  };
  return { ...options, authClient };
}

/** By the classes themselves: the library's own way from a file to them is deprecated. */
async function ofFile(library: typeof googleAuthLibrary, keyFile: string) {
  const json = JSON.parse(await readFile(keyFile, 'utf8')) as { readonly type?: unknown };
  if (json.type === 'external_account') {
    const client = library.ExternalAccountClient.fromJSON(json as Parameters<typeof library.ExternalAccountClient.fromJSON>[0]);
    return Object.assign(present(client, 'a kind of workload identity'), { scopes: SCOPE });
  }
  const { client_email: email, private_key: key, private_key_id: keyId } = json as Readonly<Record<string, string | undefined>>;
  return new library.JWT({ email: present(email, 'an email'), key: present(key, 'a key'), keyId: keyId ?? '', scopes: SCOPE });
}
