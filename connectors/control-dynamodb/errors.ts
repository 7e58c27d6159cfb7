import { CausewayError, type ErrorCode } from '#core/errors.ts';
import { isCertificateCode } from '../lib/network/certificate-error.ts';

/** By the name that the service or the SDK gives. What stands nowhere is judged by its HTTP status. */
const codesByName: ReadonlyMap<string, ErrorCode> = new Map([
  ...[
    'AccessDeniedException',
    'CredentialsProviderError',
    'ExpiredTokenException',
    'IncompleteSignatureException',
    'InvalidClientTokenId',
    'InvalidSignatureException',
    'KMSAccessDeniedException',
    'MissingAuthenticationTokenException',
    'TokenProviderError',
    'UnrecognizedClientException',
  ].map((name) => [name, 'control_credentials'] as const),
  ...[
    'InternalServerError',
    'LimitExceededException',
    'ProvisionedThroughputExceededException',
    'ReplicatedWriteConflictException',
    'RequestLimitExceeded',
    'ServiceUnavailable',
    'ThrottlingException',
    'TimeoutError',
    'TransactionConflictException',
  ].map((name) => [name, 'control_unavailable'] as const),
]);

/** Of the others, the service's own words can quote what was to be stored. */
const namesWithSafeWords: ReadonlySet<string> = new Set(['AccessDeniedException', 'CredentialsProviderError', 'ResourceNotFoundException']);

export function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : 'unknown';
}

/** `what` is the table, for people. */
export function controlError(error: unknown, what: string): CausewayError {
  if (error instanceof CausewayError) return error;
  const code = codeFor(error);
  if (code === null) return new CausewayError('internal', `a defect of Causeway while it used ${what}`, { cause: error });
  return new CausewayError(code, `${what}: ${describe(error)}`);
}

function codeFor(error: unknown): ErrorCode | null {
  if (!(error instanceof Error)) return null;
  const named = codesByName.get(error.name);
  if (named !== undefined) return named;
  const status = statusOf(error);
  if (status !== null) return status >= 500 || status === 429 ? 'control_unavailable' : 'control_misconfigured';
  // No answer: an error of Node.js, by its code.
  const { code } = error as { readonly code?: unknown };
  if (typeof code !== 'string') return null;
  return isCertificateCode(code) ? 'control_credentials' : 'control_unavailable';
}

function describe(error: unknown): string {
  const name = nameOf(error);
  if (!(error instanceof Error)) return name;
  if (namesWithSafeWords.has(name)) return `${name}: ${error.message}`;
  const { code } = error as { readonly code?: unknown };
  return typeof code === 'string' && code !== name ? `${name} ${code}` : name;
}

/** Of the service's answer; null where there was none. */
function statusOf(error: Error): number | null {
  const { $metadata: metadata } = error as { readonly $metadata?: { readonly httpStatusCode?: number } };
  return metadata?.httpStatusCode ?? null;
}
