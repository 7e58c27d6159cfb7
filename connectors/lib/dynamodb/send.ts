import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { nameOf } from './errors.ts';

export type Item = Record<string, AttributeValue>;

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
