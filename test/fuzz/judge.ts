import { inspect } from 'node:util';
import { CausewayError } from '#core/errors.ts';
import { tellsMarker, type Reaction, type Target } from './target.ts';

/** An input of at most some kilobytes: whoever needs longer has lost control, also on a busy machine. */
const HANG_MS = 10_000;
const SLOW_MS = 5_000;

export type Failure = { readonly target: string; readonly input: Buffer; readonly what: string };

/** Gives one input to the product. Null where it reacted as it should: a clean end, or an error with a code and without a value. */
export async function judged(target: Target, input: Buffer): Promise<Failure | null> {
  const startedMs = performance.now();
  const what = await whatIsWrong(target, input);
  if (what !== null) return { target: target.name, input, what };
  const tookMs = Math.round(performance.now() - startedMs);
  return tookMs > SLOW_MS ? { target: target.name, input, what: `took ${tookMs} ms` } : null;
}

async function whatIsWrong(target: Target, input: Buffer): Promise<string | null> {
  let reaction: Reaction;
  try {
    const pending = target.react(input);
    reaction = pending instanceof Promise ? await within(pending) : pending;
  } catch (error) {
    return `threw where it must not: ${inspect(error)}`;
  }
  const { thrown, said = [] } = reaction;
  if (thrown !== undefined && (!(thrown instanceof CausewayError) || thrown.code === 'internal')) return `has no code: ${inspect(thrown)}`;
  const told = [...textsOf(thrown), ...said].find(tellsMarker);
  return told === undefined ? null : `tells a value: ${told}`;
}

/** Everything of an error that a log could show. */
function textsOf(error: unknown): readonly string[] {
  if (!(error instanceof Error)) return [];
  return [error.message, error.stack ?? '', ...textsOf(error.cause)];
}

async function within(pending: Promise<Reaction>): Promise<Reaction> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`hangs: no end within ${HANG_MS} ms`)), HANG_MS);
  });
  try {
    return await Promise.race([pending, late]);
  } finally {
    clearTimeout(timer);
  }
}
