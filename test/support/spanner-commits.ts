// What stands in requests to Spanner, read by the types of the service's own client.
import { protos } from '@google-cloud/spanner';
import { hexOf, keyText, plain, type SpannerEffect } from './spanner-effects.ts';

const { CommitRequest, DeleteSessionRequest } = protos.google.spanner.v1;

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
