// Loaded into a daemon with `node --import`: writes down every statement that it sends, for statement-loop.ts.
import { writeFileSync } from 'node:fs';
import { serialize } from 'node:v8';
import pg from 'pg';

export type Statement = { readonly text: string; readonly name?: string; readonly values?: readonly (string | null)[] };

export type Recording = {
  /** Of the connections, as they ask for them at their start. */
  readonly options: string;
  /** In the order in which they were sent. */
  readonly statements: readonly { readonly connection: number; readonly statement: Statement }[];
};

const connections = new WeakMap<pg.Client, number>();
const statements: { connection: number; statement: Statement }[] = [];
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
  const { text, name, values } = typeof first === 'string' ? { text: first, name: undefined, values: undefined } : (first as Statement);
  const statement = { text, ...(name === undefined ? {} : { name }), ...(values === undefined ? {} : { values }) };
  statements.push({ connection, statement });
  return query.apply(this, args);
} as typeof pg.Client.prototype.query;

process.on('exit', () => {
  const recording: Recording = { options, statements };
  writeFileSync(process.env['CAUSEWAY_BENCH_RECORDING'] ?? 'recording', serialize(recording));
});
