import { CausewayError, type ErrorCode } from '#core/errors.ts';
import { isCertificateCode } from '../network/certificate-error.ts';

/** What the server is for; it picks the family of error codes. */
export type Role = 'source' | 'sink' | 'control';

type Kind = 'unavailable' | 'credentials' | 'permission' | 'misconfigured' | 'slotInUse' | 'full' | 'damaged';

const codes: Readonly<Record<Role, Readonly<Record<Kind, ErrorCode>>>> = {
  source: {
    unavailable: 'source_unavailable',
    credentials: 'source_credentials',
    permission: 'source_permission',
    misconfigured: 'source_misconfigured',
    slotInUse: 'source_slot_in_use',
    full: 'source_misconfigured',
    damaged: 'source_misconfigured',
  },
  sink: {
    unavailable: 'sink_unavailable',
    credentials: 'sink_credentials',
    permission: 'sink_misconfigured',
    misconfigured: 'sink_misconfigured',
    slotInUse: 'sink_misconfigured',
    full: 'sink_misconfigured',
    damaged: 'sink_misconfigured',
  },
  control: {
    unavailable: 'control_unavailable',
    credentials: 'control_credentials',
    permission: 'control_credentials',
    misconfigured: 'control_misconfigured',
    slotInUse: 'control_misconfigured',
    // Its rows are few and small: somebody else filled the disk. A lease outlives it where room is made in time.
    full: 'control_unavailable',
    damaged: 'control_damaged',
  },
};

/**
 * By SQLSTATE ("PostgreSQL documentation, Appendix A"): the whole code first, then its class. What stands nowhere waits for a
 * person, since trying again does not mend it.
 */
const kindsBySqlstate: ReadonlyMap<string, Kind> = new Map([
  ['0A000', 'misconfigured'],
  // A server that became a standby: its successor answers to the same name soon, or check says that it is one (PG-001).
  ['25006', 'unavailable'],
  ['25P03', 'unavailable'],
  ['42501', 'permission'],
  ['55006', 'slotInUse'],
  ['55P03', 'unavailable'],
  // No space, and what the server's operator limits: waiting alone does not mend the first, but everything else of its class.
  ['53100', 'full'],
  ['XX001', 'damaged'],
  ['XX002', 'damaged'],
]);

const kindsByClass: ReadonlyMap<string, Kind> = new Map([
  ['08', 'unavailable'],
  ['28', 'credentials'],
  ['40', 'unavailable'],
  ['53', 'unavailable'],
  ['57', 'unavailable'],
  ['58', 'unavailable'],
]);

/** Classes whose messages quote values: data exceptions, violated constraints, cardinality, views with a check. */
const classesThatQuoteValues: ReadonlySet<string> = new Set(['21', '22', '23', '44', 'P0']);

const NOT_CONVERTED = ['a text, which can be a name or a default too, cannot be converted between UTF-8 and the encoding of the database'];

const wordsInPlace: ReadonlyMap<string, readonly string[]> = new Map([
  ['22021', NOT_CONVERTED],
  ['22P05', NOT_CONVERTED],
]);

/** What the driver's DatabaseError has of it; recognised by its fields, because two copies of the driver have two classes. */
export type ServerError = Error & {
  readonly code: string;
  readonly severity: string;
  readonly schema?: string | undefined;
  readonly table?: string | undefined;
  readonly column?: string | undefined;
  readonly constraint?: string | undefined;
};

export function isServerError(error: unknown): error is ServerError {
  return error instanceof Error && 'severity' in error && 'code' in error && typeof error.code === 'string' && error.code.length === 5;
}

/** The SQLSTATE of an error that the server sent, null for any other. */
export function sqlstateOf(error: unknown): string | null {
  return isServerError(error) ? error.code : null;
}

/** A CausewayError of the role's family, by SQLSTATE or the error code of Node.js. One that is a CausewayError already stays. */
export function postgresError(error: unknown, role: Role): CausewayError {
  if (error instanceof CausewayError) return error;
  if (isServerError(error)) return new CausewayError(codes[role][kindOfServerError(error)], describe(error));
  const kind = kindOfClientError(error);
  if (kind === null) {
    const code = role === 'sink' ? 'sink_failed' : 'internal';
    return new CausewayError(code, 'an error without a code while it talked to a Postgres server', { cause: error });
  }
  return new CausewayError(codes[role][kind], error instanceof Error ? messageOf(error) : 'the connection failed', { cause: error });
}

function kindOfServerError(error: ServerError): Kind {
  return kindsBySqlstate.get(error.code) ?? kindsByClass.get(error.code.slice(0, 2)) ?? 'misconfigured';
}

/** The server's words where they cannot hold a value; otherwise where it happened. The error itself is no cause: its detail can. */
function describe(error: ServerError): string {
  const place = [error.schema, error.table, error.column].filter((part) => part !== undefined).join('.');
  const where = [place === '' ? null : `at ${place}`, error.constraint === undefined ? null : `constraint ${error.constraint}`];
  const said = classesThatQuoteValues.has(error.code.slice(0, 2)) ? (wordsInPlace.get(error.code) ?? []) : [error.message];
  return [`SQLSTATE ${error.code}`, ...where.filter((part) => part !== null), ...said].join(': ');
}

/** Both addresses of `localhost` refused is an AggregateError without a text of its own. */
function messageOf(error: Error): string {
  if (error.message !== '') return error.message;
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name;
}

/** Null for what no connection can have caused. */
function kindOfClientError(error: unknown): Kind | null {
  if (!(error instanceof Error)) return null;
  if ('code' in error && typeof error.code === 'string') return isCertificateCode(error.code) ? 'credentials' : 'unavailable';
  // The driver gives no code to what it says itself: connection ended, timeout, no TLS offered. Defects have classes of their own.
  return error.constructor === Error ? 'unavailable' : null;
}
