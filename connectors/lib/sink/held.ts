import { CausewayError } from '#core/errors.ts';
import type { FencingToken } from '#core/position.ts';
import { compareSinkProgress, type SinkProgress } from '#core/sink.ts';

/** A partition as a sink keeps it. */
export type Held = {
  readonly token: FencingToken;
  readonly progress: SinkProgress | null;
  /** Batches with rows, ever. A batch whose progress does not move leaves this one trace. */
  readonly writes: number;
};

/**
 * Decides, from the partition as it is stored now, whether its holder may go on. Null where it is gone, or another's. `seen` is the
 * progress that the holder has seen stored. Throws `partition_fenced` for a greater token, `sink_went_back` where the partition is
 * gone or older than what was seen.
 */
export function checkHeld<H extends Held>(
  held: H | null,
  mine: { readonly token: FencingToken; readonly seen: SinkProgress | null; readonly writes: number },
): H {
  if (held === null) throw new CausewayError('sink_went_back', "the sink's fence of the partition is gone");
  const { token, progress, writes } = held;
  if (token > mine.token)
    throw new CausewayError('partition_fenced', `the partition has a holder with the token ${token}, above ${mine.token}`);
  if (token < mine.token)
    throw new CausewayError('sink_went_back', `the sink's fence of the partition went back from ${mine.token} to ${token}`);
  if (mine.seen !== null && (progress === null || compareSinkProgress(progress, mine.seen) < 0)) {
    const now = progress === null ? 'nothing' : `offset ${progress.offset}`;
    throw new CausewayError('sink_went_back', `the sink's progress went back from offset ${mine.seen.offset} to ${now}`);
  }
  if (writes < mine.writes)
    throw new CausewayError('sink_went_back', `the sink's count of batches went back from ${mine.writes} to ${writes}`);
  return held;
}

/** What is to be stored: the one that is further on. `stored` itself where nothing has to be written. */
export function advanced(stored: SinkProgress | null, wanted: SinkProgress | null): SinkProgress | null {
  if (wanted === null) return stored;
  return stored === null || compareSinkProgress(wanted, stored) > 0 ? wanted : stored;
}
