import { CausewayError, type ErrorCode } from '#core/errors.ts';
import { isCertificateCode } from '../network/certificate-error.ts';

/** For what the service is used. */
export type Role = 'control' | 'sink';
type Kind = 'credentials' | 'region' | 'unavailable' | 'throttled' | 'misconfigured';

/** By the name that the service or the SDK gives. What stands nowhere is judged by its HTTP status. */
const kindsByName: ReadonlyMap<string, Kind> = new Map([
  ...[
    'AccessDenied',
    'AccessDeniedException',
    'CredentialsProviderError',
    'ExpiredTokenException',
    'IDPRejectedClaimException',
    'IncompleteSignatureException',
    'InvalidClientTokenId',
    'InvalidIdentityTokenException',
    'InvalidSignatureException',
    'KMSAccessDeniedException',
    'MissingAuthenticationTokenException',
    'RegionDisabledException',
    'SignatureDoesNotMatch',
    'TokenProviderError',
    'UnrecognizedClientException',
  ].map((name) => [name, 'credentials'] as const),
  ...['ProvisionedThroughputExceededException', 'RequestLimitExceeded', 'Throttling', 'ThrottlingException'].map(
    (name) => [name, 'throttled'] as const,
  ),
  ...[
    'IDPCommunicationErrorException',
    'InternalServerError',
    'LimitExceededException',
    'ReplicatedWriteConflictException',
    'ServiceUnavailable',
    'TimeoutError',
    'TransactionConflictException',
  ].map((name) => [name, 'unavailable'] as const),
]);

/** Of the others, the service's own words can quote what was to be stored. */
const namesWithSafeWords: ReadonlySet<string> = new Set([
  'AccessDenied',
  'AccessDeniedException',
  'CredentialsProviderError',
  'ResourceNotFoundException',
]);

/** Of Node.js: a name that no server has. */
const NO_SUCH_HOST = 'ENOTFOUND';

/** Of Node.js, where no connection was being made: a file that is not there or may not be read, which can only be that of a token. */
const FILE_CODES: ReadonlySet<string> = new Set(['ENOENT', 'EACCES']);

export function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : 'unknown';
}

/** `what` is the table, for people, and `region` the one that requests are signed for. */
export function dynamoError(
  error: unknown,
  { role, what, region }: { readonly role: Role; readonly what: string; readonly region: string },
): CausewayError {
  if (error instanceof CausewayError) return error;
  const kind = kindOf(error);
  if (kind === null)
    return new CausewayError(role === 'sink' ? 'sink_failed' : 'internal', `${what}: an error without a code`, { cause: error });
  return new CausewayError(codeFor(role, kind), `${what}: ${describe(error)}${hintOf(error, region)}`);
}

function codeFor(role: Role, kind: Kind): ErrorCode {
  if (role === 'sink') return `sink_${kind}`;
  return kind === 'throttled' || kind === 'region' ? 'control_unavailable' : `control_${kind}`;
}

function kindOf(error: unknown): Kind | null {
  if (!(error instanceof Error)) return null;
  const named = kindsByName.get(error.name);
  if (named !== undefined) return named;
  const status = statusOf(error);
  if (status !== null) return status >= 500 || status === 429 ? 'unavailable' : 'misconfigured';
  // No answer: an error of Node.js, by its code.
  const { code, syscall } = error as { readonly code?: unknown; readonly syscall?: unknown };
  if (typeof code !== 'string') return null;
  if (code === NO_SUCH_HOST) return 'region';
  return isCertificateCode(code) || (FILE_CODES.has(code) && syscall !== 'connect') ? 'credentials' : 'unavailable';
}

function describe(error: unknown): string {
  const name = nameOf(error);
  if (!(error instanceof Error)) return name;
  if (namesWithSafeWords.has(name)) return `${name}: ${error.message}`;
  const { code } = error as { readonly code?: unknown };
  return typeof code === 'string' && code !== name ? `${name} ${code}` : name;
}

/** What to look at, where a wrong region shows as something else. */
function hintOf(error: unknown, region: string): string {
  const { code, hostname } = error as { readonly code?: unknown; readonly hostname?: unknown };
  if (code === NO_SUCH_HOST) return `: no server has the name ${String(hostname)}; look at \`region\` and \`endpoint\``;
  switch (nameOf(error)) {
    case 'UnrecognizedClientException':
    case 'InvalidClientTokenId':
      return `: the key is not known in ${region}: it is wrong, of another partition of AWS, or the account has not enabled that region`;
    case 'InvalidSignatureException':
    case 'SignatureDoesNotMatch':
      return `: the request is signed for ${region}: \`endpoint\` is another region's, or the secret key is wrong`;
    default:
      return '';
  }
}

/** Of the service's answer; null where there was none. */
function statusOf(error: Error): number | null {
  const { $metadata: metadata } = error as { readonly $metadata?: { readonly httpStatusCode?: number } };
  return metadata?.httpStatusCode ?? null;
}
