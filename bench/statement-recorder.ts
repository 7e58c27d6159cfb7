// Loaded into a daemon with `node --import`: writes down every statement that it sends, for statement-loop.ts.
import { writeFileSync } from 'node:fs';
import { serialize } from 'node:v8';
import pg from 'pg';
import type { Flight, Statement } from '../connectors/lib/postgres/flight.ts';

/** What was sent in one go: a statement, or several in one flight. */
export type Sent = { readonly connection: number; readonly inFlight: boolean; readonly statements: readonly Statement[] };

export type Recording = {
  /** Of the connections, as they ask for them at their start. */
  readonly options: string;
  /** In the order in which it was sent. */
  readonly sent: readonly Sent[];
};

const connections = new WeakMap<pg.Client, number>();
const sent: Sent[] = [];
let opened = 0;
let options = '';

// eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with its own receiver below
const query = pg.Client.prototype.query as (this: pg.Client, ...args: unknown[]) => unknown;

pg.Client.prototype.query = function record(this: pg.Client, ...args: unknown[]): unknown {
  let connection = connections.get(this);
  if (connection === undefined) {
    connection = opened;
    opened += 1;
    connections.set(this, connection);
    options = (this as unknown as { readonly connectionParameters: { readonly options: string } }).connectionParameters.options;
  }
  const [first] = args;
  if (isFlight(first)) sent.push({ connection, inFlight: true, statements: first.statements });
  else sent.push({ connection, inFlight: false, statements: [typeof first === 'string' ? { text: first } : plain(first as Statement)] });
  return query.apply(this, args);
} as typeof pg.Client.prototype.query;

/** By its shape: the daemon that is measured is compiled, and has a class of its own. */
function isFlight(value: unknown): value is Flight {
  return typeof value === 'object' && value !== null && 'statements' in value && 'submit' in value;
}

/** Without what the driver's configuration has besides, functions among it. */
function plain({ text, name, values }: Statement): Statement {
  return { text, ...(name === undefined ? {} : { name }), ...(values === undefined ? {} : { values }) };
}

process.on('exit', () => {
  const recording: Recording = { options, sent };
  writeFileSync(process.env['CAUSEWAY_BENCH_RECORDING'] ?? 'recording', serialize(recording));
});
