import { readFile } from 'node:fs/promises';
import type { ConnectionOptions } from 'node:tls';
import type { AuthenticationProviderArgs, Mechanism } from 'kafkajs';
import { present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import type { Runtime } from '#core/runtime.ts';
import type { SaslConfig, TlsConfig } from './authentication-config.ts';
import { codeOfKafkaError } from './errors.ts';
import { exchanges } from './kafkajs-internals.ts';
import { mskToken } from './msk-iam.ts';
import { clientCredentialsToken } from './oauth.ts';

/** Files are read here, so for each new client. */
export async function tlsOptions(tls: TlsConfig | undefined): Promise<ConnectionOptions | null> {
  if (tls === undefined) return null;
  const read = async (path: string | undefined, key: string): Promise<string | null> =>
    path === undefined ? null : await readSecret(path, `tls.${key}`);
  const [ca, cert, key] = [await read(tls.ca, 'ca'), await read(tls.cert, 'cert'), await read(tls.key, 'key')];
  return {
    minVersion: 'TLSv1.2',
    rejectUnauthorized: true,
    ...(ca === null ? {} : { ca }),
    ...(cert === null ? {} : { cert }),
    ...(key === null ? {} : { key }),
  };
}

/** Secrets are read, or made, at each connection, and kept nowhere. */
export function saslMechanism(sasl: SaslConfig, runtime: Runtime): Mechanism {
  const name = sasl.mechanism === 'aws-msk-iam' ? 'oauthbearer' : sasl.mechanism;
  return {
    mechanism: name,
    authenticationProvider: (connection) => ({
      authenticate: async () => {
        const exchange = await exchangeOf(sasl, runtime);
        await authenticate(exchange, connection);
      },
    }),
  };
}

async function exchangeOf(sasl: SaslConfig, runtime: Runtime): Promise<Mechanism['authenticationProvider']> {
  switch (sasl.mechanism) {
    case 'plain':
    case 'scram-sha-256':
    case 'scram-sha-512': {
      const password = await readSecret(present(sasl.passwordFile, 'sasl.passwordFile'), 'sasl.passwordFile');
      return exchanges[sasl.mechanism]({ username: present(sasl.username, 'sasl.username'), password });
    }
    case 'oauthbearer':
    case 'aws-msk-iam': {
      const value = await tokenOf(sasl, runtime);
      const extensions = sasl.extensions === undefined ? {} : { extensions: sasl.extensions };
      return exchanges.oauthbearer({ oauthBearerProvider: () => Promise.resolve({ value, ...extensions }) });
    }
  }
}

async function tokenOf(sasl: SaslConfig, runtime: Runtime): Promise<string> {
  if (sasl.mechanism === 'aws-msk-iam') return await mskToken(present(sasl.region, 'sasl.region'), runtime.wallMs());
  if (sasl.tokenFile !== undefined) return await readSecret(sasl.tokenFile, 'sasl.tokenFile');
  return await clientCredentialsToken(
    {
      url: present(sasl.tokenUrl, 'sasl.tokenUrl'),
      clientId: present(sasl.clientId, 'sasl.clientId'),
      clientSecret: await readSecret(present(sasl.clientSecretFile, 'sasl.clientSecretFile'), 'sasl.clientSecretFile'),
      scope: sasl.scope ?? null,
    },
    runtime,
  );
}

/**
 * The client says "authentication failed" for a connection that broke in the middle of the exchange too, and keeps nothing but the
 * words of what broke: an outage would look like a refused login.
 */
async function authenticate(exchange: Mechanism['authenticationProvider'], connection: AuthenticationProviderArgs): Promise<void> {
  let broke: unknown = null;
  const saslAuthenticate: AuthenticationProviderArgs['saslAuthenticate'] = async (request) => {
    try {
      return await connection.saslAuthenticate(request);
    } catch (error) {
      if (codeOfKafkaError(error) === 'log_unavailable') broke = error;
      throw error;
    }
  };
  try {
    await exchange({ ...connection, saslAuthenticate }).authenticate();
  } catch (error) {
    throw broke ?? error;
  }
}

/** Secret stores and editors end the file with a line break that is not part of the secret. */
async function readSecret(path: string, what: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).replace(/\r?\n$/, '');
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    throw new CausewayError('log_credentials', `${what} ${path} cannot be read: ${reason}`);
  }
}
