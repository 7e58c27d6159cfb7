import { inspect } from 'node:util';
import { CausewayError } from '#core/errors.ts';
import { tellsMarker, type Reaction, type Target } from './target.ts';

/** An input of at most some kilobytes: whoever needs longer has lost control. Of the processor's time, as the machine can be busy. */
const SLOW_MS = 3_000;
/** Without an end, of a clock. */
const HANG_MS = 60_000;

export type Failure = { readonly target: string; readonly input: Buffer; readonly what: string };

/** Gives one input to the product. Null where it reacted as it should: a clean end, or an error with a code and without a value. */
export async function judged(target: Target, input: Buffer): Promise<Failure | null> {
  const started = process.cpuUsage();
  const what = await whatIsWrong(target, input);
  if (what !== null) return { target: target.name, input, what };
  const { user, system } = process.cpuUsage(started);
  const tookMs = Math.round((user + system) / 1_000);
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
