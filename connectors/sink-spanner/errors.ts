import { CausewayError, type ErrorCode } from '#core/errors.ts';
import { isCertificateCode } from '../lib/network/certificate-error.ts';

/** https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
export const OK = 0;
const INVALID_ARGUMENT = 3;
export const PERMISSION_DENIED = 7;
export const FAILED_PRECONDITION = 9;
export const ABORTED = 10;
export const UNIMPLEMENTED = 12;
const CODES: Readonly<Record<number, { readonly name: string; readonly code: ErrorCode }>> = {
  1: { name: 'CANCELLED', code: 'sink_unavailable' },
  2: { name: 'UNKNOWN', code: 'sink_unavailable' },
  3: { name: 'INVALID_ARGUMENT', code: 'sink_misconfigured' },
  4: { name: 'DEADLINE_EXCEEDED', code: 'sink_unavailable' },
  5: { name: 'NOT_FOUND', code: 'sink_misconfigured' },
  6: { name: 'ALREADY_EXISTS', code: 'sink_misconfigured' },
  7: { name: 'PERMISSION_DENIED', code: 'sink_misconfigured' },
  8: { name: 'RESOURCE_EXHAUSTED', code: 'sink_throttled' },
  9: { name: 'FAILED_PRECONDITION', code: 'sink_misconfigured' },
  10: { name: 'ABORTED', code: 'sink_unavailable' },
  11: { name: 'OUT_OF_RANGE', code: 'sink_misconfigured' },
  12: { name: 'UNIMPLEMENTED', code: 'sink_misconfigured' },
  13: { name: 'INTERNAL', code: 'sink_unavailable' },
  14: { name: 'UNAVAILABLE', code: 'sink_unavailable' },
  15: { name: 'DATA_LOSS', code: 'sink_misconfigured' },
  16: { name: 'UNAUTHENTICATED', code: 'sink_credentials' },
};

const UNAVAILABLE = 14;
export const UNAUTHENTICATED = 16;
const TOO_MANY_REQUESTS = 429;
const SERVER_ERROR = 500;

/**
 * In place of the error of a token that was not to be had, which would come as UNKNOWN and with whatever its server said: who gives tokens
 * cannot be reached or is in trouble, or refuses the credentials, or they cannot be read.
 */
export function withoutToken(error: unknown): Error {
  const { config, status } = error as { readonly config?: unknown; readonly status?: unknown };
  const isAnswered = typeof status === 'number';
  const passes = isAnswered ? status >= SERVER_ERROR || status === TOO_MANY_REQUESTS : config !== undefined;
  return Object.assign(new Error('no token is to be had'), { code: passes ? UNAVAILABLE : UNAUTHENTICATED });
}

/** What a commit is answered where one of its rows cannot be stored; none of them names the row, or tells what is wrong with it. */
const REFUSALS: ReadonlySet<number> = new Set([3, 9, 11]);

/** A commit that the service refuses for ever, as it is, or keys that it does not read before. Nothing of the transaction took effect. */
export class CommitRefused extends Error {
  override readonly name = 'CommitRefused';

  /** The status is such as `OUT_OF_RANGE`. */
  constructor(what: 'commit' | 'keys', status: string) {
    super(`the service refuses the ${what} (${status})`);
  }
}

/**
 * As `work`, for commits that no row of the source is to blame for: a refused one is about the tables. `differences` names what is wrong
 * with them. Errors: `sink_misconfigured` in place of `CommitRefused`.
 */
export async function blamingTables<T>(work: () => Promise<T>, differences: () => Promise<readonly string[]>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof CommitRefused)) throw error;
    const found = await differences();
    const words = found.length > 0 ? found.join('; ') : `${error.message}, though no row of the source is in it`;
    throw new CausewayError('sink_misconfigured', words);
  }
}

/** A value that no column of its type can hold. The words name no value. */
export class ValueRefused extends Error {
  override readonly name = 'ValueRefused';
}

/** Of gRPC; null where the error is not the service's. */
export function statusOf(error: unknown): number | null {
  if (!(error instanceof Error) || !('code' in error)) return null;
  return typeof error.code === 'number' && error.code in CODES ? error.code : null;
}

export function statusName(status: number): string {
  return CODES[status]?.name ?? `status ${status}`;
}

/** Null where the commit may have taken effect, or another attempt may. */
export function refusalOf(error: unknown): CommitRefused | null {
  const status = statusOf(error);
  return status !== null && REFUSALS.has(status) ? new CommitRefused('commit', statusName(status)) : null;
}

/** Of a read by keys of source rows: one that is larger by the service's count than by ours, or all of them together. */
export function keysRefusalOf(error: unknown): CommitRefused | null {
  return statusOf(error) === INVALID_ARGUMENT ? new CommitRefused('keys', statusName(INVALID_ARGUMENT)) : null;
}

/**
 * True where the service has forgotten the session that was named, as it does after an hour without a request. Told by the type of the
 * resource in the error's details (google.rpc.ResourceInfo), as Google's client for Java does.
 */
export function isSessionLost(error: unknown): boolean {
  const { statusDetails } = error as { readonly statusDetails?: readonly { readonly resourceType?: unknown }[] };
  if (statusOf(error) !== 5 || !Array.isArray(statusDetails)) return false;
  return statusDetails.some(({ resourceType }) => typeof resourceType === 'string' && resourceType.endsWith('.Session'));
}

/**
 * What the service asks to wait for before the next attempt, in ms; null where it asks for nothing. It stands in the error's details
 * (google.rpc.RetryInfo, "Errors", google.aip.dev/193), or in a trailer of its own, from which Google's client for Node.js takes it.
 */
export function retryDelayMs(error: unknown): number | null {
  const { statusDetails: details, metadata } = error as {
    readonly statusDetails?: readonly { readonly retryDelay?: unknown }[];
    readonly metadata?: { get(name: string): readonly unknown[] };
  };
  const [trailer] = metadata?.get(RETRY_TRAILER) ?? [];
  if (trailer instanceof Uint8Array) return delayIn(trailer);
  const delay = details?.find(({ retryDelay }) => retryDelay !== undefined)?.retryDelay;
  // google.protobuf.Duration, whose seconds come as a number, a text or an object that prints as one.
  const { seconds, nanos } = (delay ?? {}) as { readonly seconds?: unknown; readonly nanos?: unknown };
  const ms = Number(seconds ?? 0) * 1_000 + Number(nanos ?? 0) / 1_000_000;
  return ms > 0 ? ms : null;
}

const RETRY_TRAILER = 'google.rpc.retryinfo-bin';

/** Of a google.rpc.RetryInfo as protocol buffers have it: its first field is a google.protobuf.Duration of seconds and nanoseconds. */
function delayIn(info: Uint8Array): number | null {
  const [at, end] = [2, Math.min(info.length, 2 + (info[1] ?? 0))];
  if (info[0] !== 0x0a) return null;
  let [ms, field, value, scale] = [0, 0, 0, 1];
  for (const byte of info.subarray(at, end)) {
    if (field === 0) {
      field = byte >> 3;
      continue;
    }
    value += (byte & 0x7f) * scale;
    scale *= 0x80;
    if (byte >= 0x80) continue;
    ms += field === 1 ? value * 1_000 : value / 1_000_000;
    [field, value, scale] = [0, 0, 1];
  }
  return ms > 0 ? ms : null;
}

/** `what` is the table or the request, for people. The service's own words can quote what was to be stored, and are left out. */
export function spannerError(error: unknown, what: string): CausewayError {
  if (error instanceof CausewayError) return error;
  const entry = CODES[statusOf(error) ?? -1];
  if (entry !== undefined) {
    const code = isSessionLost(error) ? 'sink_unavailable' : entry.code;
    return new CausewayError(code, `${what}: ${entry.name}`);
  }
  const code = error instanceof Error && 'code' in error ? error.code : null;
  if (typeof code !== 'string') return new CausewayError('sink_failed', `${what}: an error without a code`, { cause: error });
  return new CausewayError(isCertificateCode(code) ? 'sink_credentials' : 'sink_unavailable', `${what}: ${code}`);
}
