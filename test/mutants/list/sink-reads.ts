import { integration, unit, type Mutant } from '../mutant.ts';

const postgres = (only: string): Mutant['suite'] => integration('sink-postgres', only);
const spanner = (only: string): Mutant['suite'] => integration('sink-spanner', only);
const dynamodb = (only: string): Mutant['suite'] => integration('sink-dynamodb', only);
const items = unit('connectors/sink-dynamodb/read-keys');

/** What reconciliation reads of a sink, and what it keeps there. */
export const sinkReadMutants: readonly Mutant[] = [
  {
    name: 'rows of DynamoDB are read by their keys as they were a moment before',
    file: 'connectors/sink-dynamodb/read-keys.ts',
    breaks: 'R1',
    find: 'Keys: [...left], ConsistentRead: true }',
    put: 'Keys: [...left] }',
    suite: items,
  },
  {
    name: 'what an answer of DynamoDB leaves out counts as not there',
    file: 'connectors/sink-dynamodb/read-keys.ts',
    breaks: 'R1',
    find: 'return left.length === 0 ? found : null;',
    put: 'return found;',
    suite: items,
  },
  {
    name: 'a read of rows of Postgres by their keys leaves tombstones out',
    file: 'connectors/sink-postgres/statements.ts',
    breaks: 'R1',
    find: '  WHERE t.${first} IS NOT NULL OR v.${first} IS NOT NULL`;',
    put: '  WHERE t.${first} IS NOT NULL`;',
    suite: postgres('sidecar.*gives rows, tombstones'),
  },
  {
    name: 'a read of rows of Spanner by their keys leaves tombstones out',
    file: 'connectors/sink-spanner/read-keys.ts',
    breaks: 'R1',
    find: '.filter((one) => sequences.has(one) || live.has(one))',
    put: '.filter((one) => live.has(one))',
    suite: spanner('GoogleSQL.*gives rows, tombstones'),
  },
  {
    name: 'a key that Postgres refuses takes the others of its statement along',
    file: 'connectors/sink-postgres/read-keys.ts',
    breaks: 'R1',
    find: 'if (found === null && keys.length === 1) return [];',
    put: 'if (found === null) return [];',
    suite: postgres('sidecar.*keys that no row can have'),
  },
  {
    name: 'a scan of Postgres leaves out the key that it goes on from',
    file: 'connectors/sink-postgres/read.ts',
    breaks: 'R3',
    find: "add('>=', printed(shape, range.from))",
    put: "add('>', printed(shape, range.from))",
    suite: postgres('sidecar.*the key of the last row that was seen'),
  },
  {
    name: 'a page of Spanner behind a key of NaN is never right',
    file: 'connectors/sink-spanner/comparisons.ts',
    breaks: 'R1',
    find: "return isFloat && operator.startsWith('<') ? `(IS_NAN(${name}) OR ${plain})` : plain;",
    put: 'return plain;',
    suite: spanner('GoogleSQL.*the key of the last row that was seen of double precision'),
  },
  {
    name: 'the key of a row of Spanner is expected as the source spells it',
    file: 'connectors/sink-spanner/shape.ts',
    breaks: 'R1',
    find: 'const text = isKey ? keyColumnText(column.type, value) : value;',
    put: 'const text = value;',
    suite: spanner('GoogleSQL.*tells it of keys of every type'),
  },
  {
    name: 'json of Spanner is expected with its numbers as the source spells them',
    file: 'connectors/sink-spanner/json-text.ts',
    breaks: 'R1',
    find: "return JSON.rawJSON(plainNumber(source ?? '') ?? String(value));",
    put: 'return JSON.rawJSON(source ?? String(value));',
    suite: unit('connectors/sink-spanner/encode'),
  },
  {
    name: 'members of a map of DynamoDB are read in the order that the service has them in',
    file: 'connectors/sink-dynamodb/encode.ts',
    breaks: 'R1',
    find: '.sort(([a], [b]) => (a < b ? -1 : 1))',
    put: '',
    suite: unit('connectors/sink-dynamodb/encode'),
  },
  {
    name: 'a row that DynamoDB’s sink refuses is expected to be there',
    file: 'connectors/sink-dynamodb/read-back.ts',
    breaks: 'R1',
    find: 'if (error instanceof ValueRefused) return null;',
    put: 'if (error instanceof ValueRefused) return row;',
    suite: dynamodb('sink-dynamodb: sink contract.*tells what a scan gives back'),
  },
  {
    name: 'a difference that is reported again at another cut is kept twice',
    file: 'connectors/lib/sink/report-texts.ts',
    breaks: 'R1',
    find: "createHash('sha256').update(key).digest('hex')",
    put: "createHash('sha256').update(key + cut).digest('hex')",
    suite: postgres('sidecar.*hold a difference once'),
  },
  {
    name: 'reports of a run whose name begins alike are told as its own',
    file: 'connectors/sink-dynamodb/reports.ts',
    breaks: 'R1',
    find: 'return encodeURIComponent(run) + SLASH;',
    put: 'return encodeURIComponent(run);',
    suite: dynamodb('come back as they went in, to another process'),
  },
  {
    name: 'a sink of Spanner without a table of reports cannot be removed',
    file: 'connectors/sink-spanner/sink.ts',
    breaks: 'an upgrade',
    find: 'if (hasReports) await',
    put: 'await',
    suite: spanner('of a release without reports'),
  },
];
