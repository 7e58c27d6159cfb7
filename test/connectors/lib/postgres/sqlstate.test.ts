import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { AssertionError, brokenInvariantIn } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import { postgresError } from '../../../../connectors/lib/postgres/connection.ts';

function serverError(code: string, message: string, more: Partial<pg.DatabaseError> = {}): Error {
  return Object.assign(new pg.DatabaseError(message, 0, 'error'), { severity: 'ERROR', code, ...more });
}

function nodeError(code: string): Error {
  return Object.assign(new Error(`it failed: ${code}`), { code });
}

describe('errors of the server, by SQLSTATE', () => {
  test.each([
    ['57P01', 'source_unavailable', 'sink_unavailable', 'control_unavailable'],
    ['57P03', 'source_unavailable', 'sink_unavailable', 'control_unavailable'],
    ['08006', 'source_unavailable', 'sink_unavailable', 'control_unavailable'],
    ['53300', 'source_unavailable', 'sink_unavailable', 'control_unavailable'],
    ['40001', 'source_unavailable', 'sink_unavailable', 'control_unavailable'],
    ['40P01', 'source_unavailable', 'sink_unavailable', 'control_unavailable'],
    ['25006', 'source_unavailable', 'sink_unavailable', 'control_unavailable'],
    ['28P01', 'source_credentials', 'sink_credentials', 'control_credentials'],
    ['28000', 'source_credentials', 'sink_credentials', 'control_credentials'],
    ['42501', 'source_permission', 'sink_misconfigured', 'control_credentials'],
    ['55006', 'source_slot_in_use', 'sink_misconfigured', 'control_misconfigured'],
    ['3D000', 'source_misconfigured', 'sink_misconfigured', 'control_misconfigured'],
    ['42P01', 'source_misconfigured', 'sink_misconfigured', 'control_misconfigured'],
    ['53100', 'source_misconfigured', 'sink_misconfigured', 'control_unavailable'],
    ['XX000', 'source_misconfigured', 'sink_misconfigured', 'control_misconfigured'],
    ['XX001', 'source_misconfigured', 'sink_misconfigured', 'control_damaged'],
    ['XX002', 'source_misconfigured', 'sink_misconfigured', 'control_damaged'],
  ] as const)('%s', (sqlstate, source, sink, control) => {
    const error = serverError(sqlstate, 'so it is');
    expect(postgresError(error, 'source').code).toBe(source);
    expect(postgresError(error, 'sink').code).toBe(sink);
    expect(postgresError(error, 'control').code).toBe(control);
    expect(postgresError(error, 'sink').message).toContain(`SQLSTATE ${sqlstate}`);
  });
});

test('a text that cannot be converted is named as such, without the text', () => {
  const { message } = postgresError(serverError('22P05', 'character 0x81 has no equivalent'), 'source');
  expect(message).toContain('cannot be converted');
  expect(message).not.toContain('0x81');
});

describe('errors of the connection, by the code of Node.js', () => {
  test.each(['ECONNREFUSED', 'ECONNRESET', 'ENOTFOUND', 'EAI_AGAIN', 'ETIMEDOUT', 'EPIPE', 'EHOSTUNREACH', 'ENOENT'])('%s', (code) => {
    expect(postgresError(nodeError(code), 'source').code).toBe('source_unavailable');
  });
  test.each([
    'SELF_SIGNED_CERT_IN_CHAIN',
    'DEPTH_ZERO_SELF_SIGNED_CERT',
    'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
    'CERT_HAS_EXPIRED',
    'ERR_TLS_CERT_ALTNAME_INVALID',
    'ERR_SSL_WRONG_VERSION_NUMBER',
  ])('%s', (code) => {
    expect(postgresError(nodeError(code), 'sink').code).toBe('sink_credentials');
  });
  test('what the driver says without a code is a connection that failed', () => {
    expect(postgresError(new Error('Connection terminated unexpectedly'), 'sink').code).toBe('sink_unavailable');
  });
  test('a refused connection to both addresses of a name still says something', () => {
    const both = Object.assign(new AggregateError([nodeError('ECONNREFUSED')]), { code: 'ECONNREFUSED' });
    expect(postgresError(both, 'source')).toMatchObject({ code: 'source_unavailable', message: 'ECONNREFUSED' });
  });
});

test('defects stay defects', () => {
  expect(postgresError(new TypeError('x is undefined'), 'source').code).toBe('internal');
  expect(postgresError(new AssertionError('absent'), 'source').code).toBe('internal');
});

test('at a sink what nobody foresaw is a state of that sink, and keeps a broken invariant as its cause', () => {
  const broken = new AssertionError('absent');
  expect(postgresError(new TypeError('x is undefined'), 'sink').code).toBe('sink_failed');
  expect(brokenInvariantIn(postgresError(broken, 'sink'))).toBe(broken);
});

test('an error that has its code already stays', () => {
  const error = new CausewayError('source_slot_lost', 'gone');
  expect(postgresError(error, 'source')).toBe(error);
});

test('a value that the server quotes is not repeated, where it was is', () => {
  const secret = 'hunter2';
  const errors = [
    serverError('22P02', `invalid input syntax for type integer: "${secret}"`, { column: 'age' }),
    serverError('23505', 'duplicate key value', {
      detail: `Key (name)=(${secret}) already exists.`,
      table: 'people',
      constraint: 'people_name',
    }),
    serverError('23514', `failing row contains ${secret}`),
  ];
  for (const error of errors) {
    const mapped = postgresError(error, 'sink');
    expect(JSON.stringify([mapped.message, mapped.stack, mapped.cause])).not.toContain(secret);
  }
  expect(postgresError(errors[1], 'sink').message).toBe('SQLSTATE 23505: at people: constraint people_name');
});
