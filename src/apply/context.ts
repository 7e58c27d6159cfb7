import type { SinkRow } from '#core/control-rows.ts';
import type { TableId } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';
import type { Bell } from './bell.ts';
import type { KnownSchemas } from './catalogue.ts';
import type { ParkingLimit } from './dead-letter.ts';
import type { ApplyDeps } from './deps.ts';
import type { RequestDesk } from './requests.ts';
import type { SchemaGate } from './schema-gate.ts';
import type { SeenProgress } from './seen.ts';

/** What the workers of one sink share. */
export type SinkContext = {
  /** Newest completed sweep of each table, as it was read last. Another map once the sink went back: what is on its way counts no more. */
  swept: Map<TableId, Sequence>;
  readonly deps: ApplyDeps;
  readonly row: SinkRow;
  readonly schemas: KnownSchemas;
  readonly gate: SchemaGate;
  readonly limit: ParkingLimit;
  readonly desk: RequestDesk;
  readonly seen: SeenProgress;
  /** Rung when a worker has passed a truncate. */
  readonly truncates: Bell;
};
