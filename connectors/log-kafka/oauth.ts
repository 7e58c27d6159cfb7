import { CausewayError } from '#core/errors.ts';
import type { Runtime } from '#core/runtime.ts';

/** Nothing else ends the wait of a connection for its token. */
const ANSWER_MS = 10_000;

export type ClientCredentials = {
  readonly url: string;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly scope: string | null;
};

/** A token for client credentials (RFC 6749, section 4.4), the client authenticated by HTTP Basic (section 2.3.1). */
export async function clientCredentialsToken({ url, clientId, clientSecret, scope }: ClientCredentials, runtime: Runtime): Promise<string> {
  const basic = Buffer.from(`${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret)}`).toString('base64');
  const body = new URLSearchParams({ grant_type: 'client_credentials', ...(scope === null ? {} : { scope }) });
  const headers = { authorization: `Basic ${basic}`, accept: 'application/json' };
  const { status, answer } = await post({ url, headers, body }, runtime);
  if (status >= 500) throw new CausewayError('log_unavailable', `sasl.tokenUrl ${url} answered with status ${status}`);
  const token = isRecord(answer) ? answer['access_token'] : null;
  if (status === 200 && typeof token === 'string' && token !== '') return token;
  const reason = isRecord(answer) && typeof answer['error'] === 'string' ? `: ${answer['error']}` : '';
  throw new CausewayError('log_credentials', `sasl.tokenUrl ${url} gave no token, but status ${status}${reason}`);
}

type Post = { readonly url: string; readonly headers: Readonly<Record<string, string>>; readonly body: URLSearchParams };

async function post({ url, headers, body }: Post, runtime: Runtime): Promise<{ readonly status: number; readonly answer: unknown }> {
  const [answered, late] = [new AbortController(), new AbortController()];
  const timer = runtime.sleep(ANSWER_MS, answered.signal).then(
    () => late.abort(),
    () => undefined,
  );
  try {
    const response = await fetch(url, { method: 'POST', headers, body, redirect: 'error', signal: late.signal });
    return { status: response.status, answer: parsed(await response.text()) };
  } catch (error) {
    throw new CausewayError('log_unavailable', `sasl.tokenUrl ${url} cannot be reached, or did not answer`, { cause: error });
  } finally {
    answered.abort();
    await timer;
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
