import type { ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';

/**
 * A control store inside a database that is failed over is lost with it, or goes back with it, just when it has to decide. A
 * source or sink that does not answer now proves nothing, and nothing is captured from it or written to it either.
 */
export async function refuseSharedDatabase(
  of: {
    readonly control: Pick<ControlStore, 'database'>;
    readonly other: { database?(signal: AbortSignal): Promise<string> };
    /** For people: `the source`. */
    readonly what: string;
  },
  signal: AbortSignal,
): Promise<void> {
  const { control, other, what } = of;
  if (control.database === undefined || other.database === undefined) return;
  const [own, name] = await Promise.all([control.database(signal), nameOf(other.database(signal))]);
  if (own === null || own !== name) return;
  throw new CausewayError(
    'control_misconfigured',
    `the control store is in the database of ${what}, which is failed over: give \`control\` a database on another server`,
  );
}

async function nameOf(asked: Promise<string>): Promise<string | null> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof CausewayError) return null;
    throw error;
  }
}
