import { createHash, createHmac } from 'node:crypto';
import { CausewayError } from '#core/errors.ts';
import type { WallMs } from '#core/position.ts';
import { microTime } from '../lib/time/micro-time.ts';

export type AwsCredentials = { readonly accessKeyId: string; readonly secretAccessKey: string; readonly sessionToken?: string };

const SERVICE = 'kafka-cluster';
/** The longest that the brokers allow. A token is looked at only while a connection comes up. */
const EXPIRES_SECONDS = 900;
const ALGORITHM = 'AWS4-HMAC-SHA256';

/**
 * A token for Amazon MSK with IAM access control: the address of the action `kafka-cluster:Connect`, signed beforehand with version 4
 * ("AWS Identity and Access Management User Guide, Create a signed AWS API request"), in base64 for URLs
 * (github.com/aws/aws-msk-iam-sasl-signer-js). Credentials come from the default chain of the AWS SDK.
 */
export async function mskToken(region: string, wallMs: WallMs, load: () => Promise<AwsCredentials> = fromDefaultChain): Promise<string> {
  let credentials;
  try {
    credentials = await load();
  } catch (error) {
    const reason = error instanceof Error ? error.name : 'unknown error';
    throw new CausewayError('log_credentials', `no credentials for an IAM token could be had: ${reason}`);
  }
  return signedToken({ region, credentials, wallMs });
}

/** Loaded only where it is used: it is larger than the rest of a small daemon. */
async function fromDefaultChain(): Promise<AwsCredentials> {
  const { fromNodeProviderChain } = await import('@aws-sdk/credential-providers');
  const { accessKeyId, secretAccessKey, sessionToken } = await fromNodeProviderChain()();
  return { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
}

type Signing = { readonly region: string; readonly credentials: AwsCredentials; readonly wallMs: WallMs };

function signedToken({ region, credentials, wallMs }: Signing): string {
  const host = `kafka.${region}.amazonaws.com`;
  const time = compactTime(wallMs);
  const date = time.slice(0, 8);
  const scope = `${date}/${region}/${SERVICE}/aws4_request`;
  const query = queryText({
    Action: 'kafka-cluster:Connect',
    'X-Amz-Algorithm': ALGORITHM,
    'X-Amz-Credential': `${credentials.accessKeyId}/${scope}`,
    'X-Amz-Date': time,
    'X-Amz-Expires': `${EXPIRES_SECONDS}`,
    ...(credentials.sessionToken === undefined ? {} : { 'X-Amz-Security-Token': credentials.sessionToken }),
    'X-Amz-SignedHeaders': 'host',
  });
  const request = ['GET', '/', query, `host:${host}`, '', 'host', sha256('')].join('\n');
  const text = [ALGORITHM, time, scope, sha256(request)].join('\n');
  const key = [date, region, SERVICE, 'aws4_request'].reduce<string | Buffer>(hmac, `AWS4${credentials.secretAccessKey}`);
  const signature = hmac(key, text).toString('hex');
  const url = `https://${host}/?${query}&X-Amz-Signature=${signature}&User-Agent=causeway`;
  return Buffer.from(url).toString('base64url');
}

/** Sorted by name, as what is signed has to be. */
function queryText(parameters: Readonly<Record<string, string>>): string {
  return Object.entries(parameters)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${escaped(value)}`)
    .join('&');
}

/** RFC 3986: encodeURIComponent leaves out five of what is reserved. */
function escaped(text: string): string {
  return encodeURIComponent(text).replaceAll(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** `20260102T030405Z`. */
function compactTime(wallMs: WallMs): string {
  return microTime(wallMs).replaceAll(/[-:]|\.\d+/g, '');
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}
