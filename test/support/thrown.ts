import { CausewayError } from '#core/errors.ts';

/** What the work was refused with. */
export async function thrown(work: Promise<unknown>): Promise<CausewayError> {
  const error: unknown = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (error instanceof CausewayError) return error;
  throw new Error('not a CausewayError', { cause: error });
}
