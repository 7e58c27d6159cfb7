// What stands in requests to Spanner, read by the types of the service's own client, and what is done in place of one.
import { protos } from '@google-cloud/spanner';
import type { SpannerClient } from '@google-cloud/spanner/build/src/v1/index.js';
import { hexOf, keyText, plain, type SpannerEffect } from './spanner-effects.ts';

const { CommitRequest, DeleteSessionRequest } = protos.google.spanner.v1;
const ABORTED = 10;

/** The registers that a request for a commit writes: rows with `cw_seq`. */
export function registersIn(request: Buffer): readonly SpannerEffect[] {
  return CommitRequest.decode(request).mutations.flatMap((mutation) => {
    const write = mutation.insert ?? mutation.update ?? mutation.insertOrUpdate ?? mutation.replace;
    if (!write?.columns?.includes('cw_seq')) return [];
    const names = write.columns;
    return (write.values ?? []).map((row) => {
      const values = (row.values ?? []).map((value) => plain(value) as string);
      const { cw_seq: sequence, cw_deleted: _, ...key } = Object.fromEntries(names.map((name, at) => [name, values[at]]));
      return { table: write.table ?? '', key: keyText(key), sequence: hexOf(sequence) };
    });
  });
}

export function sessionIn(request: Buffer): string {
  return DeleteSessionRequest.decode(request).name;
}

/**
 * The emulator breaks its memory, and ends or hangs, where a session is deleted while its read-write transaction is open
 * (github.com/GoogleCloudPlatform/cloud-spanner-emulator/issues/30 and /273; a rollback before it keeps it well). The sink deletes a session
 * so where an outcome is not known, since the service then ends the transaction. Here the session stays and the transaction ends: the
 * emulator drops it when the next one begins in its session.
 */
export async function endTransaction(client: SpannerClient, session: string): Promise<void> {
  const options = { timeout: 15_000, retry: { retryCodes: [] } };
  try {
    const [{ id }] = await client.beginTransaction({ session, options: { readWrite: {} } }, options);
    await client.rollback({ session, transactionId: id ?? '' }, options);
  } catch (error) {
    // Another one has begun: there is one at a time.
    if ((error as { readonly code?: unknown }).code !== ABORTED) throw error;
  }
}
