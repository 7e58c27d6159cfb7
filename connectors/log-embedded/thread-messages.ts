import { CausewayError, type ErrorCode } from '#core/errors.ts';
import type { OperationName, Operations } from './operations.ts';

/** Asked of the thread that writes. The bytes of an append are in shared memory, which is left alone until the answer is there. */
export type Request = { readonly name: OperationName; readonly args: Operations[OperationName]['args'] };

export type Answer = { readonly tag: 'done'; readonly result: Operations[OperationName]['result'] } | Failure;

/** An error between threads, of which only what decides anything is carried over: a class does not survive the way. */
type Failure = { readonly tag: 'failed'; readonly message: string; readonly stack: string | undefined } & (
  | { readonly kind: 'causeway'; readonly code: ErrorCode }
  /** As node:sqlite throws them. */
  | { readonly kind: 'sqlite'; readonly errcode: number; readonly errstr: string }
  | { readonly kind: 'other' }
);

export function answerOf(error: unknown): Failure {
  if (!(error instanceof Error)) return { tag: 'failed', kind: 'other', message: String(error), stack: undefined };
  const { message, stack } = error;
  if (error instanceof CausewayError) return { tag: 'failed', kind: 'causeway', code: error.code, message, stack };
  if ('errcode' in error && typeof error.errcode === 'number') {
    const errstr = 'errstr' in error ? String(error.errstr) : '';
    return { tag: 'failed', kind: 'sqlite', errcode: error.errcode, errstr, message, stack };
  }
  return { tag: 'failed', kind: 'other', message, stack };
}

/** What `answerOf` was given, as nearly as it can be told. */
export function errorOf(failure: Failure): Error {
  const error = failure.kind === 'causeway' ? new CausewayError(failure.code, failure.message) : new Error(failure.message);
  if (failure.kind === 'sqlite') Object.assign(error, { errcode: failure.errcode, errstr: failure.errstr });
  if (failure.stack !== undefined) error.stack = failure.stack;
  return error;
}
