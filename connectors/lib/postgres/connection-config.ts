import { isIP } from 'node:net';
import * as z from 'zod';
import { present } from '#core/assert.ts';
import { parseDurationMs } from '#core/quantity.ts';

const TLS_MODES = ['disable', 'require', 'verify-ca', 'verify-full'] as const;
export type TlsMode = (typeof TLS_MODES)[number];

const PORT_DEFAULT = 5432;
const CONNECT_TIMEOUT_MIN_MS = 100;
const CONNECT_TIMEOUT_MAX_MS = 120_000;

const connectTimeout = z.string().transform((text, context) => {
  const ms = parseDurationMs(text);
  if (ms !== null && ms >= CONNECT_TIMEOUT_MIN_MS && ms <= CONNECT_TIMEOUT_MAX_MS) return ms;
  context.addIssue({
    code: 'custom',
    message: ms === null ? 'is not a duration' : 'must be between 100ms and 2m',
    params: { mend: 'Write a number with its unit, from 100ms to 2m, such as 10s.' },
  });
  return z.NEVER;
});

const path = z.string().min(1);

/** The keys of a connection, to be spread into a connector's own schema; that then calls `checkConnection` in a superRefine. */
export const connectionFields = {
  url: z
    .string()
    .optional()
    .describe('`postgres://user@host:port/database`. Settings behind a `?` are refused, except `host` for a folder with a socket.'),
  host: z.string().min(1).optional().describe('Instead of `url`: a name, an address, or a folder with a Unix socket.'),
  port: z.int().min(1).max(65_535).optional().describe('Instead of `url`. 5432 unless set.'),
  database: z.string().min(1).optional().describe('Instead of `url`.'),
  user: z.string().min(1).optional().describe('Instead of `url`.'),
  passwordFile: path.optional().describe('File that holds the password. It is read at each connection, so it may be changed at any time.'),
  iam: z
    .strictObject({ region: z.string().min(1).describe('Region of the database, such as `eu-west-1`.') })
    .optional()
    .describe('Instead of a password: an IAM token of Amazon RDS or Aurora, made anew for each connection.'),
  tls: z
    .strictObject({
      mode: z
        .enum(TLS_MODES)
        .optional()
        .describe(
          '`verify-full` unless set: the certificate has to come from a trusted authority and to name the host. `verify-ca` leaves the name out, ' +
            '`require` encrypts and verifies nothing. On loopback and Unix sockets `disable` is the default.',
        ),
      ca: path.optional().describe('File with the certificates of the authorities to trust, in PEM. Those that Node.js knows unless set.'),
      cert: path.optional().describe('File with a client certificate, in PEM.'),
      key: path.optional().describe('File with the key of the client certificate, in PEM.'),
    })
    .optional()
    .describe('How the connection is encrypted and the server verified.'),
  connectTimeout: connectTimeout.optional().describe('How long a connection may take to come up. `10s` unless set.'),
} as const;

type Fields = z.output<z.ZodObject<typeof connectionFields>>;

type Issue = { readonly path: readonly string[]; readonly message: string; readonly mend: string };

/** Adds what the keys of a connection have to satisfy together. */
export function checkConnection(input: Fields, context: z.core.$RefinementCtx): void {
  for (const issue of issuesOf(input)) {
    context.addIssue({ code: 'custom', path: [...issue.path], message: issue.message, params: { mend: issue.mend } });
  }
}

export const connectionSchema = z.strictObject(connectionFields).superRefine(checkConnection);

export type ConnectionInput = z.output<typeof connectionSchema>;

/** Never printed: the password of a URL can only be had by calling. */
export type Secret =
  | { readonly tag: 'none' }
  | { readonly tag: 'inline'; readonly reveal: () => string }
  | { readonly tag: 'file'; readonly path: string }
  | { readonly tag: 'iam'; readonly region: string };

export type Connection = {
  /** A name, an address, or a folder with a Unix socket. */
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly secret: Secret;
  readonly tls: { readonly mode: TlsMode; readonly ca: string | null; readonly cert: string | null; readonly key: string | null };
  readonly connectTimeoutMs: number;
};

const CONNECT_TIMEOUT_DEFAULT_MS = 10_000;

/** `input` has passed `checkConnection`. */
export function resolveConnection(input: ConnectionInput): Connection {
  const address = input.url === undefined ? null : present(parseUrl(input.url).address, 'the address of a checked URL');
  const host = address?.host ?? present(input.host, 'host');
  return {
    host,
    port: address?.port ?? input.port ?? PORT_DEFAULT,
    database: address?.database ?? present(input.database, 'database'),
    user: address?.user ?? present(input.user, 'user'),
    secret: secretOf(input, address?.password ?? null),
    tls: {
      mode: input.tls?.mode ?? (isLocal(host) ? 'disable' : 'verify-full'),
      ca: input.tls?.ca ?? null,
      cert: input.tls?.cert ?? null,
      key: input.tls?.key ?? null,
    },
    connectTimeoutMs: input.connectTimeout ?? CONNECT_TIMEOUT_DEFAULT_MS,
  };
}

/** One text for one database, as far as its address tells: other addresses of its server are found out when it is asked. */
export function databaseAt(input: ConnectionInput): string {
  const { host, port, database } = resolveConnection(input);
  return `postgres ${host}:${port}/${database}`;
}

/** For people: without any secret. */
export function describeConnection(connection: Connection): string {
  const host = connection.host.startsWith('/') ? connection.host : `${connection.host}:${connection.port}`;
  return `${connection.user}@${host}/${connection.database}`;
}

function secretOf(input: ConnectionInput, password: string | null): Secret {
  if (input.iam !== undefined) return { tag: 'iam', region: input.iam.region };
  if (input.passwordFile !== undefined) return { tag: 'file', path: input.passwordFile };
  return password === null ? { tag: 'none' } : { tag: 'inline', reveal: () => password };
}

function isLocal(host: string): boolean {
  return host.startsWith('/') || host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

type Address = {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password: string | null;
};

/** Stands where a URL has no host: a name that never resolves (RFC 6761). */
const NO_HOST = 'socket.invalid';

type ParsedUrl = { readonly address: Address; readonly issue: null } | { readonly address: null; readonly issue: Issue };

/** The messages never repeat the URL, which may hold a password. */
function parseUrl(text: string): ParsedUrl {
  const refuse = (message: string, mend: string): ParsedUrl => ({ address: null, issue: { path: ['url'], message, mend } });
  const form = 'Write postgres://user@host:port/database, with %XX for characters such as @ and / inside a name.';
  // The URL of a socket has no host, which the WHATWG parser refuses for a user with an empty host.
  const url = URL.parse(text.replace(/^(postgres(?:ql)?:\/\/[^/?]*@)(?=[/?])/, `$1${NO_HOST}`));
  if (url === null || !/^postgres(?:ql)?:$/.test(url.protocol)) return refuse('is not a URL of a Postgres database', form);
  const host = decoded(url.hostname.replace(/^\[|\]$/g, ''));
  const database = decoded(url.pathname.slice(1));
  const user = decoded(url.username);
  const password = decoded(url.password);
  if (host === null || database === null || user === null || password === null) return refuse('is not a URL of a Postgres database', form);
  for (const name of url.searchParams.keys()) {
    if (name !== 'host')
      return refuse(`has the setting ${name}`, 'Remove it from the URL; TLS and time-outs have keys of their own (tls, connectTimeout).');
  }
  const folder = url.searchParams.get('host');
  if ((host === '' || host === NO_HOST) && folder === null) return refuse('names no host', form);
  if (database === '') return refuse('names no database', form);
  if (user === '') return refuse('names no user', form);
  return {
    address: {
      host: folder ?? host,
      port: url.port === '' ? PORT_DEFAULT : Number(url.port),
      database,
      user,
      password: password === '' ? null : password,
    },
    issue: null,
  };
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

function issuesOf(input: Fields): readonly Issue[] {
  const issues: Issue[] = [];
  const parts = ['host', 'port', 'database', 'user'] as const;
  if (input.url === undefined) {
    for (const key of ['host', 'database', 'user'] as const) {
      if (input[key] === undefined)
        issues.push({ path: [key], message: 'is missing', mend: 'Set `url`, or `host`, `database` and `user`.' });
    }
  } else {
    for (const key of parts) {
      if (input[key] !== undefined) issues.push({ path: [key], message: 'stands beside `url`', mend: `Remove \`${key}\`, or \`url\`.` });
    }
    const { address, issue } = parseUrl(input.url);
    if (issue !== null) issues.push(issue);
    const holdsPassword = address !== null && address.password !== null;
    if (holdsPassword && (input.passwordFile !== undefined || input.iam !== undefined)) {
      issues.push({ path: ['url'], message: 'holds a password, and another one is configured', mend: 'Remove the password from the URL.' });
    }
  }
  if (input.iam !== undefined && input.passwordFile !== undefined) {
    issues.push({ path: ['iam'], message: 'stands beside `passwordFile`', mend: 'Remove one of the two.' });
  }
  if ((input.tls?.cert === undefined) !== (input.tls?.key === undefined)) {
    issues.push({ path: ['tls'], message: 'has only one of `cert` and `key`', mend: 'Set both, or none.' });
  }
  if (input.iam !== undefined && input.tls?.mode === 'disable') {
    issues.push({
      path: ['tls', 'mode'],
      message: 'would send the IAM token in the clear',
      mend: 'Remove it: verify-full is the default.',
    });
  }
  return issues;
}
