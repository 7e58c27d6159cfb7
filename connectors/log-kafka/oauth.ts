import { CausewayError } from '#core/errors.ts';

export type ClientCredentials = {
  readonly url: string;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly scope: string | null;
};

/** A token for client credentials (RFC 6749, section 4.4), the client authenticated by HTTP Basic (section 2.3.1). */
export async function clientCredentialsToken({ url, clientId, clientSecret, scope }: ClientCredentials): Promise<string> {
  const basic = Buffer.from(`${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret)}`).toString('base64');
  const body = new URLSearchParams({ grant_type: 'client_credentials', ...(scope === null ? {} : { scope }) });
  const headers = { authorization: `Basic ${basic}`, accept: 'application/json' };
  const { status, answer } = await post(url, headers, body);
  if (status >= 500) throw new CausewayError('log_unavailable', `sasl.tokenUrl ${url} answered with status ${status}`);
  const token = isRecord(answer) ? answer['access_token'] : null;
  if (status === 200 && typeof token === 'string' && token !== '') return token;
  const reason = isRecord(answer) && typeof answer['error'] === 'string' ? `: ${answer['error']}` : '';
  throw new CausewayError('log_credentials', `sasl.tokenUrl ${url} gave no token, but status ${status}${reason}`);
}

async function post(
  url: string,
  headers: Readonly<Record<string, string>>,
  body: URLSearchParams,
): Promise<{ readonly status: number; readonly answer: unknown }> {
  let response;
  let text;
  try {
    response = await fetch(url, { method: 'POST', headers, body, redirect: 'error' });
    text = await response.text();
  } catch (error) {
    throw new CausewayError('log_unavailable', `sasl.tokenUrl ${url} cannot be reached`, { cause: error });
  }
  try {
    return { status: response.status, answer: JSON.parse(text) };
  } catch {
    return { status: response.status, answer: null };
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
