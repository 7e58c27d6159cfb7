import type { TableSelection } from '#core/connector.ts';
import { CausewayError } from '#core/errors.ts';
import type { Sink } from '#core/sink.ts';
import type { Source } from '#core/source.ts';
import { writesWhatIsCaptured } from '../config/tables.ts';

/**
 * A sink that writes the very tables that are captured would take its own writes for new changes, and put old values over
 * newer ones at the source, for ever. A source that does not answer now proves nothing, and captures nothing either.
 */
export async function refuseOwnWrites(
  of: {
    readonly source: Pick<Source, 'database'>;
    readonly sink: Pick<Sink, 'database'>;
    readonly sinkName: string;
    readonly tables: readonly TableSelection[];
  },
  signal: AbortSignal,
): Promise<void> {
  const { source, sink, sinkName, tables } = of;
  if (sink.database === undefined || source.database === undefined) return;
  const table = writesWhatIsCaptured(tables);
  if (table === null) return;
  const names = await bothNames([source.database(signal), sink.database(signal)]);
  if (names === null || names[0] !== names[1]) return;
  throw new CausewayError(
    'sink_misconfigured',
    `the sink ${sinkName} is the database that is captured, and ${table} would be written over itself: correct the address of one of both, ` +
      'or map the tables to others with `target`',
  );
}

async function bothNames(asked: readonly Promise<string>[]): Promise<readonly string[] | null> {
  try {
    return await Promise.all(asked);
  } catch (error) {
    if (error instanceof CausewayError) return null;
    throw error;
  }
}
