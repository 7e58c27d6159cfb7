/** A broken invariant of the program itself. It ends the process: nothing that follows could be trusted. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Far more than anything wraps; a driver can make a circle of them. */
const LOOKED_MAX = 64;

/** Stays on in production. The message names the invariant, never a row value. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** The last branch of a switch over a closed union. Names the tag alone: the rest can hold a row. */
export function unreachable(value: never): never {
  const given: unknown = value;
  const tag = typeof given === 'object' && given !== null && 'tag' in given ? String(given.tag) : typeof given;
  throw new AssertionError(`unreachable: ${tag}`);
}

/** The value, asserted to be there. For indexes that were checked by a bound that the type checker cannot see. */
export function present<T>(value: T | undefined | null, what: string): T {
  if (value === undefined || value === null) throw new AssertionError(`absent: ${what}`);
  return value;
}

/**
 * The broken invariant behind an error, however often a driver or a table of codes has wrapped it, and beside an error of a disposal or of
 * other work; null where there is none.
 */
export function brokenInvariantIn(error: unknown): AssertionError | null {
  const left: unknown[] = [error];
  for (let looked = 0; looked < LOOKED_MAX; looked += 1) {
    const at = left.shift();
    if (at instanceof AssertionError) return at;
    if (at instanceof SuppressedError) left.push(at.error, at.suppressed);
    if (at instanceof AggregateError) left.push(...(at.errors as readonly unknown[]));
    if (at instanceof Error) left.push(at.cause);
  }
  return null;
}
