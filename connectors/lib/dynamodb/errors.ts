import { CausewayError, type ErrorCode } from '#core/errors.ts';
import { isCertificateCode } from '../network/certificate-error.ts';

/** For what the service is used. */
export type Role = 'control' | 'sink';
type Kind = 'credentials' | 'unavailable' | 'throttled' | 'misconfigured';

/** By the name that the service or the SDK gives. What stands nowhere is judged by its HTTP status. */
const kindsByName: ReadonlyMap<string, Kind> = new Map([
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
  ].map((name) => [name, 'credentials'] as const),
  ...['ProvisionedThroughputExceededException', 'RequestLimitExceeded', 'ThrottlingException'].map((name) => [name, 'throttled'] as const),
  ...[
    'InternalServerError',
    'LimitExceededException',
    'ReplicatedWriteConflictException',
    'ServiceUnavailable',
    'TimeoutError',
    'TransactionConflictException',
  ].map((name) => [name, 'unavailable'] as const),
]);

/** Of the others, the service's own words can quote what was to be stored. */
const namesWithSafeWords: ReadonlySet<string> = new Set(['AccessDeniedException', 'CredentialsProviderError', 'ResourceNotFoundException']);

export function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : 'unknown';
}

/** `what` is the table, for people. */
export function dynamoError(error: unknown, role: Role, what: string): CausewayError {
  if (error instanceof CausewayError) return error;
  const kind = kindOf(error);
  if (kind === null)
    return new CausewayError(role === 'sink' ? 'sink_failed' : 'internal', `${what}: an error without a code`, { cause: error });
  return new CausewayError(codeFor(role, kind), `${what}: ${describe(error)}`);
}

function codeFor(role: Role, kind: Kind): ErrorCode {
  if (kind !== 'throttled') return `${role}_${kind}`;
  return role === 'sink' ? 'sink_throttled' : 'control_unavailable';
}

function kindOf(error: unknown): Kind | null {
  if (!(error instanceof Error)) return null;
  const named = kindsByName.get(error.name);
  if (named !== undefined) return named;
  const status = statusOf(error);
  if (status !== null) return status >= 500 || status === 429 ? 'unavailable' : 'misconfigured';
  // No answer: an error of Node.js, by its code.
  const { code } = error as { readonly code?: unknown };
  if (typeof code !== 'string') return null;
  return isCertificateCode(code) ? 'credentials' : 'unavailable';
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
