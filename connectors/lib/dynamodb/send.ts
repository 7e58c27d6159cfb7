import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { nameOf } from './errors.ts';

export type Item = Record<string, AttributeValue>;

/** Rejects with the signal's reason as soon as it aborts: the provider of credentials takes no signal. */
export async function orAborted<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal.reason as Error);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([work(), aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** Null where the condition held; otherwise what stands there, if anything. */
export async function unlessRefused(sent: Promise<unknown>): Promise<{ readonly found: Item | undefined } | null> {
  try {
    await sent;
    return null;
  } catch (error) {
    if (nameOf(error) !== 'ConditionalCheckFailedException') throw error;
    return { found: (error as { readonly Item?: Item }).Item };
  }
}
