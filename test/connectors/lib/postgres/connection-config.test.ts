import { expect, test } from 'vitest';
import {
  connectionSchema,
  describeConnection,
  resolveConnection,
  type Connection,
} from '../../../../connectors/lib/postgres/connection.ts';

function resolve(input: unknown): Connection {
  return resolveConnection(connectionSchema.parse(input));
}

function mistakes(input: unknown): string[] {
  const result = connectionSchema.safeParse(input);
  return result.success ? [] : result.error.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`);
}

test('a URL and its parts in keys of their own are the same connection', () => {
  const keys = resolve({ host: 'db.example', port: 6000, database: 'shop', user: 'causeway' });
  expect(resolve({ url: 'postgres://causeway@db.example:6000/shop' })).toEqual(keys);
  expect(resolve({ url: 'postgresql://causeway@db.example:6000/shop' })).toEqual(keys);
  expect(keys).toMatchObject({ secret: { tag: 'none' }, connectTimeoutMs: 10_000 });
  expect(resolve({ url: 'postgres://causeway@db.example/shop' }).port).toBe(5432);
});

test('names in a URL are decoded', () => {
  const connection = resolve({ url: 'postgres://a%40b:p%2Fw@db.example/my%20shop' });
  expect(connection).toMatchObject({ user: 'a@b', database: 'my shop' });
  expect(connection.secret.tag === 'inline' && connection.secret.reveal()).toBe('p/w');
});

test('a folder with a socket is a host', () => {
  expect(resolve({ url: 'postgres://me@/shop?host=/var/run/postgresql' }).host).toBe('/var/run/postgresql');
  expect(resolve({ host: '/tmp', database: 'shop', user: 'me' }).tls.mode).toBe('disable');
});

test('the server is verified in full unless it is on this machine', () => {
  const modeOf = (host: string): string => resolve({ url: `postgres://me@${host}/shop` }).tls.mode;
  expect([modeOf('db.example'), modeOf('10.0.0.1'), modeOf('127.example'), modeOf('localhost.example')]).toEqual(
    Array.from({ length: 4 }, () => 'verify-full'),
  );
  expect([modeOf('localhost'), modeOf('127.0.0.1'), modeOf('127.1.2.3'), modeOf('[::1]')]).toEqual(
    Array.from({ length: 4 }, () => 'disable'),
  );
  expect(resolve({ url: 'postgres://me@localhost/shop', tls: { mode: 'verify-full' } }).tls.mode).toBe('verify-full');
});

test('what does not fit together is named by its key', () => {
  expect(mistakes({})).toEqual(['host is missing', 'database is missing', 'user is missing']);
  expect(mistakes({ url: 'postgres://me@h/d', user: 'you' })).toEqual(['user stands beside `url`']);
  expect(mistakes({ url: 'mysql://me@h/d' })).toEqual(['url is not a URL of a Postgres database']);
  expect(mistakes({ url: 'postgres://me@h/d?sslmode=disable' })).toEqual(['url has the setting sslmode']);
  expect(mistakes({ url: 'postgres://h/d' })).toEqual(['url names no user']);
  expect(mistakes({ url: 'postgres://me@h' })).toEqual(['url names no database']);
  expect(mistakes({ url: 'postgres://me@/d' })).toEqual(['url names no host']);
  expect(mistakes({ url: 'postgres://me:pw@h/d', passwordFile: '/x' })).toEqual(['url holds a password, and another one is configured']);
  expect(mistakes({ url: 'postgres://me@h/d', passwordFile: '/x', iam: { region: 'r' } })).toEqual(['iam stands beside `passwordFile`']);
  expect(mistakes({ url: 'postgres://me@h/d', tls: { cert: '/x' } })).toEqual(['tls has only one of `cert` and `key`']);
  expect(mistakes({ url: 'postgres://me@h/d', iam: { region: 'r' }, tls: { mode: 'disable' } })).toEqual([
    'tls.mode would send the IAM token in the clear',
  ]);
  expect(mistakes({ url: 'postgres://me@h/d', connectTimeout: '30' })).toEqual(['connectTimeout is not a duration']);
  expect(mistakes({ url: 'postgres://me@h/d', connectTimeout: '1h' })).toEqual(['connectTimeout must be between 100ms and 2m']);
});

test('a password of a URL is in no mistake, no description and no JSON', () => {
  const result = connectionSchema.safeParse({ url: 'postgres://me:hunter2@h:notaport/d' });
  expect(result.success).toBe(false);
  expect(JSON.stringify(result.error?.issues)).not.toContain('hunter2');
  const connection = resolve({ url: 'postgres://me:hunter2@h/d' });
  expect(describeConnection(connection)).toBe('me@h:5432/d');
  expect(JSON.stringify(connection)).not.toContain('hunter2');
});
