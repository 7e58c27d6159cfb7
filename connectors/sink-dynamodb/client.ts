import { DynamoDBClient, type DynamoDBClientConfig } from '@aws-sdk/client-dynamodb';
import { fromTemporaryCredentials } from '@aws-sdk/credential-providers';
import type { Runtime } from '#core/runtime.ts';
import { dynamoError } from '../lib/dynamodb/errors.ts';
import { orAborted } from '../lib/time/or-aborted.ts';
import type { SinkConfig } from './config.ts';
import { ValueRefused } from './encode.ts';

const CONNECT_MS = 5_000;
/** Of one request; without a limit of ours a connection that died silently is waited for for minutes. */
const REQUEST_MS = 10_000;

const nothing = (): void => undefined;
/** Without `info`: the SDK would prepare a line for each request, which is a tenth of the client's time, and nobody would read it. */
const NO_LOGGER = { trace: nothing, debug: nothing, warn: nothing, error: nothing } as unknown as NonNullable<
  DynamoDBClientConfig['logger']
>;

/** What writes and reads of rows need of a client. */
export type Sender = Pick<Client, 'runtime' | 'send'>;

/** One client of the SDK. Every error that leaves it is a CausewayError; each request is sent once, since who asked knows what it may repeat. */
export class Client implements AsyncDisposable {
  readonly runtime: Runtime;
  readonly #region: string;
  readonly #client: DynamoDBClient;

  constructor({ config, runtime }: { readonly config: SinkConfig; readonly runtime: Runtime }) {
    this.runtime = runtime;
    this.#region = config.region;
    this.#client = new DynamoDBClient(clientConfig(config));
  }

  /** `what` is the table, for people. Errors: `sink_unavailable`, `sink_throttled`, `sink_credentials`, `sink_region`, `sink_misconfigured`. */
  async send<T>(what: string, signal: AbortSignal, work: (client: DynamoDBClient, signal: AbortSignal) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    try {
      return await orAborted(signal, () => work(this.#client, signal));
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof ValueRefused) throw error;
      throw dynamoError(error, { role: 'sink', what, region: this.#region });
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#client.destroy();
    return Promise.resolve();
  }
}

function clientConfig({ region, endpoint, inFlightRows, assumeRole }: SinkConfig): DynamoDBClientConfig {
  return {
    region,
    ...(assumeRole === undefined ? {} : { credentials: roleCredentials(assumeRole, region) }),
    ...(endpoint === undefined ? {} : { endpoint }),
    // A second attempt of a write whose first reply was lost is told of a conflict with itself: it is ours to see that.
    maxAttempts: 1,
    logger: NO_LOGGER,
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      requestTimeout: REQUEST_MS,
      throwOnRequestTimeout: true,
      httpsAgent: { keepAlive: true, maxSockets: inFlightRows },
      httpAgent: { keepAlive: true, maxSockets: inFlightRows },
    },
  };
}

/** Taken on anew before they end, with what the default chain gives: web identity, a profile, the instance's role. */
function roleCredentials(
  { arn, externalId }: NonNullable<SinkConfig['assumeRole']>,
  region: string,
): ReturnType<typeof fromTemporaryCredentials> {
  return fromTemporaryCredentials({
    params: { RoleArn: arn, RoleSessionName: 'causeway', ...(externalId === undefined ? {} : { ExternalId: externalId }) },
    clientConfig: { region },
  });
}
