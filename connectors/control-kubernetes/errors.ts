import { CausewayError, type ErrorCode } from '#core/errors.ts';
import { isCertificateCode } from '../lib/network/certificate-error.ts';

/** What the API server answers instead of an object ("Kubernetes API conventions, response status kind"). */
export type Status = {
  readonly kind: 'Status';
  readonly reason?: string;
  readonly message?: string;
  readonly details?: { readonly name?: string; readonly causes?: readonly { readonly field?: string }[] };
};

export function isStatus(body: unknown): body is Status {
  return typeof body === 'object' && body !== null && 'kind' in body && body.kind === 'Status';
}

/** The server's words name users, verbs and objects; those of an object that is not valid can quote it. */
export function answerError(status: number, body: unknown, what: string): CausewayError {
  if (!isStatus(body)) {
    const code = status >= 500 || status === 429 ? 'control_unavailable' : 'control_foreign';
    return new CausewayError(code, `${what}: HTTP status ${status}, and no answer of a Kubernetes API server`);
  }
  const fields = (body.details?.causes ?? []).map(({ field }) => field).filter((field) => field !== undefined);
  const words = status === 422 ? fields.join(', ') : (body.message ?? '');
  return new CausewayError(codeFor(status), `${what}: HTTP status ${status} ${body.reason ?? ''}: ${words}`);
}

function codeFor(status: number): ErrorCode {
  if (status === 401 || status === 403) return 'control_credentials';
  if (status === 413) return 'control_row_too_large';
  // 409: written to by others again and again. 410: a list that took too long.
  if (status >= 500 || [408, 409, 410, 429].includes(status)) return 'control_unavailable';
  return 'control_misconfigured';
}

/** Without an answer: an error of Node.js, by its code. */
export function connectionError(error: unknown, what: string): CausewayError {
  if (error instanceof CausewayError) return error;
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null;
  if (code === null) return new CausewayError('internal', `a defect of Causeway while it used ${what}`, { cause: error });
  return new CausewayError(isCertificateCode(code) ? 'control_credentials' : 'control_unavailable', `${what}: ${code}`);
}
