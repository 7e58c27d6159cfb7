import { epochMicrosOf } from '#core/position.ts';
import { MESSAGE_PREFIX, type Heartbeat as Beat } from '#core/source.ts';
import { CausewayError } from '#core/errors.ts';
import type { KeptClient } from '../lib/postgres/kept-client.ts';
import { hasSqlstate, SQLSTATE } from './errors.ts';

/** The message and the counter's row are of one transaction, so the stream shows both or none. */
const WITH_COUNTER = `
WITH beat AS (
  INSERT INTO causeway.heartbeat AS h (slot, counter, at) VALUES ($1, 1, pg_catalog.clock_timestamp())
  ON CONFLICT (slot) DO UPDATE SET counter = h.counter + 1, at = EXCLUDED.at
  RETURNING counter, (EXTRACT(epoch FROM at) * 1000000)::int8 AS micros
)
SELECT micros::text AS micros, counter::text AS counter, pg_catalog.pg_logical_emit_message(true, $2,
  pg_catalog.json_build_object('kind', 'heartbeat', 'slot', $1::text, 'counter', counter, 'at', micros)::text)::text AS position
FROM beat`;

const MESSAGE_ONLY = `
WITH beat AS (SELECT (EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::int8 AS micros)
SELECT micros::text AS micros, NULL AS counter, pg_catalog.pg_logical_emit_message(true, $2,
  pg_catalog.json_build_object('kind', 'heartbeat', 'slot', $1::text, 'at', micros)::text)::text AS position
FROM beat`;

/** After so many heartbeats without the counter the table is tried again: the right may have been granted. */
const MESSAGES_BEFORE_RETRY = 100;

export class Heartbeat {
  readonly #client: KeptClient;
  readonly #slot: string;
  #messagesOnly = 0;

  /** Counted for the slot: another deployment of the same name over this source has one of its own. */
  constructor(client: KeptClient, slot: string) {
    this.#client = client;
    this.#slot = slot;
  }

  async beat(signal: AbortSignal): Promise<Beat> {
    return await this.#client.use(signal, async (client) => {
      const values = [this.#slot, MESSAGE_PREFIX];
      const send = async (text: string): Promise<Beat> => {
        const { rows } = await client.query<{ micros: string; counter: string | null }>(text, values);
        const [row] = rows;
        if (row === undefined) throw new CausewayError('source_misconfigured', 'a heartbeat wrote nothing');
        return { at: epochMicrosOf(Number(row.micros)), counter: row.counter === null ? null : Number(row.counter) };
      };
      if (this.#messagesOnly > 0) {
        this.#messagesOnly -= 1;
        return await send(MESSAGE_ONLY);
      }
      try {
        return await send(WITH_COUNTER);
      } catch (error) {
        if (!hasSqlstate(error, SQLSTATE.insufficientPrivilege, SQLSTATE.undefinedTable, SQLSTATE.undefinedSchema)) throw error;
        this.#messagesOnly = MESSAGES_BEFORE_RETRY;
        return await send(MESSAGE_ONLY);
      }
    });
  }
}
