import type { ClientBase } from 'pg';
import { CausewayError } from '#core/errors.ts';
import type { Runtime } from '#core/runtime.ts';

export type TakeSlotInput = {
  /** An ordinary connection. The role must be the walsender's own, or a member of pg_signal_backend. */
  readonly client: Pick<ClientBase, 'query'>;
  readonly slot: string;
  readonly runtime: Runtime;
  /** How long the old walsender may take to end. */
  readonly waitMs?: number;
};

const WAIT_MS_DEFAULT = 10_000;
const POLL_MS = 50;

/**
 * Ends the walsender that holds the slot, if one does, and waits until it is free. The fence is not here but in the checkpoint
 * row: an old holder that comes back cannot acknowledge anything. Throws `source_slot_in_use` where it stays taken, and
 * the client's own errors.
 */
export async function takeSlot({ client, slot, runtime, waitMs = WAIT_MS_DEFAULT }: TakeSlotInput, signal: AbortSignal): Promise<void> {
  const deadline = runtime.monotonicMs() + waitMs;
  while (true) {
    signal.throwIfAborted();
    // Asked again each time: a process whose connection was just ended may be quicker than we are and take the slot again.
    const result = await client.query<{ ended: boolean }>(
      `SELECT pg_catalog.pg_terminate_backend(active_pid) AS ended FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 AND active_pid IS NOT NULL`,
      [slot],
    );
    if (result.rows.length === 0) return;
    if (runtime.monotonicMs() >= deadline) {
      throw new CausewayError(
        'source_slot_in_use',
        `another connection holds the replication slot ${slot} and did not end within ${waitMs} ms`,
      );
    }
    await runtime.sleep(POLL_MS, signal);
  }
}
