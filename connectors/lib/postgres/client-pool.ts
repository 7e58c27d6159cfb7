import type pg from 'pg';
import { present } from '#core/assert.ts';
import type { Connection, SessionOptions } from './connection.ts';
import { KeptClient } from './kept-client.ts';

type Lane = { readonly client: KeptClient; callers: number };

/** A few connections for short statements, each made when all before it are busy. Callers beyond that wait for each other. */
export class ClientPool implements AsyncDisposable {
  readonly #lanes: readonly Lane[];

  /** `prepare` runs on each new connection, before anything else. */
  constructor(
    of: { readonly connection: Connection; readonly options: SessionOptions; readonly connectionsMax: number },
    prepare: (client: pg.Client) => Promise<void>,
  ) {
    this.#lanes = Array.from({ length: of.connectionsMax }, () => ({
      client: new KeptClient(of.connection, of.options, prepare),
      callers: 0,
    }));
  }

  /** The signal ends the connection. Errors of the driver and the server become CausewayErrors. */
  async use<T>(signal: AbortSignal, work: (client: pg.Client) => Promise<T>): Promise<T> {
    const fewest = Math.min(...this.#lanes.map(({ callers }) => callers));
    const lane = present(
      this.#lanes.find(({ callers }) => callers === fewest),
      'a connection with the fewest callers',
    );
    lane.callers += 1;
    try {
      return await lane.client.use(signal, work);
    } finally {
      lane.callers -= 1;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#lanes.map(({ client }) => client[Symbol.asyncDispose]()));
  }
}
