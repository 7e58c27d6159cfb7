import {
  BatchExecuteStatementCommand,
  BatchGetItemCommand,
  type BatchStatementRequest,
  type BatchStatementResponse,
} from '@aws-sdk/client-dynamodb';
import { present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import type { RowChange, RowOutcome } from '#core/sink.ts';
import { mergePartial } from '#core/value.ts';
import { nameOf } from '../lib/dynamodb/errors.ts';
import type { Item } from '../lib/dynamodb/send.ts';
import type { Sender } from './client.ts';
import { ValueRefused } from './encode.ts';
import { isTombstone, keyItem, keyText, rowIn, rowItem, sequenceOf, tombstoneItem, type Shape } from './shape.ts';
import { insertStatement, updateStatement } from './statements.ts';
import { allEnded, unlessThrottled } from '../lib/sink/throttled.ts';
import { APPLIED, STALE, writeRow } from './write.ts';

/** Of a BatchGetItem, and of a BatchExecuteStatement ("Quotas in Amazon DynamoDB", API-specific limits). */
const KEYS_MAX = 100;
const STATEMENTS_MAX = 25;

/** A row of a batch: `shape` is of the schema version that its change has. */
export type TableRow = { readonly shape: Shape; readonly change: RowChange };

/** To be tried again: the service asks for fewer writes, or could not take this one. */
export type Later = {
  readonly tag: 'later';
  readonly code: 'sink_throttled' | 'sink_unavailable';
  /** It was a read that was throttled: that says nothing of how many writes the table takes. */
  readonly isRead?: boolean;
};
export type Attempt = RowOutcome | Later;

const THROTTLED: Later = { tag: 'later', code: 'sink_throttled' };
const READ_THROTTLED: Later = { ...THROTTLED, isRead: true };
const UNAVAILABLE: Later = { tag: 'later', code: 'sink_unavailable' };

export type Together = {
  readonly client: Sender;
  /**
   * Reads all items first, so that what is stale is not written. Otherwise only those that statements need: of rows that are not new at
   * the source, so that an item is there to be replaced.
   */
  readonly looksAtAll: boolean;
  /** Writes by statements, 25 in a request; otherwise each row by a request of its own. */
  readonly statements: boolean;
};

export type Tried = {
  /** In the rows' order. */
  readonly attempts: readonly Attempt[];
  /** Rows that need no look where nothing is replayed, and those of them of which a look spared, or would have spared, a write. */
  readonly blind: { readonly rows: number; readonly worthLooking: number };
  /** Items that were read, and their characters in all: of the next ones as much has to be expected. */
  readonly read: { readonly items: number; readonly characters: number };
};

/** What is known of a row's item: null where there is none, undefined where nobody looked. */
type There = Item | null | undefined;

type Step =
  | { readonly tag: 'done'; readonly attempt: Attempt }
  | { readonly tag: 'statement'; readonly request: BatchStatementRequest }
  | { readonly tag: 'alone' };

/**
 * Tries once to write rows of one table, of distinct keys. What the service refused, left out or did not answer never counts as written: a
 * condition that failed is decided by a put, and the rest is for later. Errors: those of `Client.send`, throttling excepted.
 */
export async function writeTogether(of: Together, rows: readonly TableRow[], signal: AbortSignal): Promise<Tried> {
  const looked = rows.map(({ change }) => of.looksAtAll || (of.statements && !isNew(change)));
  const there = await lookAtSome(of.client, { rows, looked }, signal);
  const steps = rows.map((row, at): Step => {
    const item = there[at];
    return item === 'throttled' ? { tag: 'done', attempt: READ_THROTTLED } : stepOf(of, row, item);
  });
  const alone = [...steps.keys()].filter((at) => steps[at]?.tag === 'alone');
  const [settled, decided] = await bothEnded(execute(of.client, steps, signal), putAlone(of.client, rows, alone, signal));
  const refused = [...settled].filter(([, attempt]) => attempt === 'refused').map(([at]) => at);
  const decidedLater = await putAlone(of.client, rows, refused, signal);
  const attempts = steps.map((step, at): Attempt => {
    if (step.tag === 'done') return step.attempt;
    const answer = decided.get(at) ?? decidedLater.get(at) ?? settled.get(at) ?? UNAVAILABLE;
    return answer === 'refused' ? UNAVAILABLE : answer;
  });
  const wasRefused = new Set(refused);
  const isThere = (at: number): boolean => itemAt(there, at) !== null;
  const isWorthIt = (at: number): boolean => (of.statements ? isThere(at) || wasRefused.has(at) : attempts[at]?.tag === 'stale');
  // A look that was throttled tells nothing.
  const isBlind = ({ change }: TableRow, at: number): boolean => (!of.statements || isNew(change)) && there[at] !== 'throttled';
  const blind = [...rows.keys()].filter((at) => isBlind(present(rows[at], 'a row'), at));
  const items = [...rows.keys()].map((at) => itemAt(there, at)).filter((item) => item !== null);
  return {
    attempts,
    blind: { rows: blind.length, worthLooking: blind.filter(isWorthIt).length },
    read: { items: items.length, characters: items.reduce((sum, item) => sum + charactersIn(item), 0) },
  };
}

function itemAt(there: readonly (There | 'throttled')[], at: number): Item | null {
  const item = there[at];
  return typeof item === 'object' ? item : null;
}

/** About as many as the item has bytes; what is within documents counts by their text. */
function charactersIn(item: Item): number {
  let characters = 0;
  for (const { S, N, B, M, L } of Object.values(item)) {
    characters += S?.length ?? N?.length ?? B?.length ?? (M === undefined && L === undefined ? 1 : JSON.stringify(M ?? L).length);
  }
  return characters;
}

function isNew(change: RowChange): boolean {
  return change.tag === 'upsert' && change.isNew === true;
}

/** In the rows' order. */
async function lookAtSome(
  client: Sender,
  { rows, looked }: { readonly rows: readonly TableRow[]; readonly looked: readonly boolean[] },
  signal: AbortSignal,
): Promise<readonly (There | 'throttled')[]> {
  const places = [...rows.keys()].filter((at) => looked[at] === true);
  const there = rows.map((): There | 'throttled' => undefined);
  await allEnded(
    inPieces(places, KEYS_MAX).map(async (piece) => {
      const some = piece.map((at) => present(rows[at], 'a row'));
      const found = await lookOnce(client, some, signal);
      for (const [place, at] of piece.entries()) there[at] = found === null ? 'throttled' : found[place];
    }),
  );
  return there;
}

/** In the rows' order. Null where the service asks for fewer reads. */
async function lookOnce(client: Sender, rows: readonly TableRow[], signal: AbortSignal): Promise<readonly There[] | null> {
  const keys = new Map<string, Item>();
  const texts = rows.map(({ shape, change }) => {
    try {
      const key = keyItem(shape, change.key);
      const text = keyText(shape, key);
      keys.set(text, key);
      return text;
    } catch (error) {
      if (error instanceof ValueRefused) return null;
      throw error;
    }
  });
  if (keys.size === 0) return rows.map(() => undefined);
  const { shape } = present(rows[0], 'a row');
  // An older version of an item does no harm: what looks stale is, and a statement asks again for the sequence that was read.
  const command = new BatchGetItemCommand({ RequestItems: { [shape.tableName]: { Keys: [...keys.values()] } } });
  const answer = await unlessThrottled(
    client.send(`the table ${shape.tableName}`, signal, (dynamo, abortSignal) => dynamo.send(command, { abortSignal })),
  );
  if (answer === null) return null;
  const found = new Map<string, Item | undefined>();
  for (const item of answer.Responses?.[shape.tableName] ?? []) found.set(keyText(shape, item), item);
  for (const key of answer.UnprocessedKeys?.[shape.tableName]?.Keys ?? []) found.set(keyText(shape, key), undefined);
  return texts.map((text) => {
    if (text === null) return undefined;
    return found.has(text) ? found.get(text) : null;
  });
}

function inPieces<T>(all: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(all.length / size) }, (_, at) => all.slice(at * size, (at + 1) * size));
}

function stepOf({ statements }: Together, { shape, change }: TableRow, there: There): Step {
  const sequence = there ? sequenceOf(there) : null;
  if (sequence !== null && sequence >= change.sequence) return { tag: 'done', attempt: STALE };
  const isForeign = there ? sequence === null : false;
  if (!statements || isForeign) return { tag: 'alone' };
  try {
    const item = newItem({ shape, change }, there ?? null);
    if (item === null) return { tag: 'alone' };
    const request = there ? updateStatement(shape, item, there) : insertStatement(shape, item);
    return request === null ? { tag: 'alone' } : { tag: 'statement', request };
  } catch (error) {
    if (error instanceof ValueRefused) return { tag: 'alone' };
    throw error;
  }
}

/** Null for a partial one without a live row to stand on: the item is looked at again, strongly, before its key is parked. */
function newItem({ shape, change }: TableRow, there: Item | null): Item | null {
  switch (change.tag) {
    case 'delete':
      return tombstoneItem(shape, change);
    case 'upsert':
      return rowItem(shape, change);
    case 'partial':
      if (there === null || isTombstone(there)) return null;
      return rowItem(shape, { ...change, row: mergePartial(rowIn(shape, there), change.row) });
  }
}

/** By the row's place: what became of each statement. */
async function execute(client: Sender, steps: readonly Step[], signal: AbortSignal): Promise<ReadonlyMap<number, Attempt | 'refused'>> {
  const statements = [...steps.entries()].flatMap(([at, step]) => (step.tag === 'statement' ? [{ at, request: step.request }] : []));
  const answers = new Map<number, Attempt | 'refused'>();
  await allEnded(
    inPieces(statements, STATEMENTS_MAX).map(async (batch) => {
      const requests = batch.map(({ request }) => request);
      const told = await executeOne(client, requests, signal);
      for (const [place, { at }] of batch.entries()) answers.set(at, told[place] ?? UNAVAILABLE);
    }),
  );
  return answers;
}

async function executeOne(
  client: Sender,
  requests: readonly BatchStatementRequest[],
  signal: AbortSignal,
): Promise<readonly (Attempt | 'refused')[]> {
  const command = new BatchExecuteStatementCommand({ Statements: [...requests] });
  const answer = await unlessThrottled(
    client.send('the tables of the sink', signal, async (dynamo, abortSignal) => {
      try {
        return (await dynamo.send(command, { abortSignal })).Responses ?? [];
      } catch (error) {
        // One statement that cannot be read refuses them all.
        if (nameOf(error) === 'ValidationException') return requests.map(() => ({ Error: { Code: 'ValidationError' as const } }));
        throw error;
      }
    }),
  );
  if (answer === null) return requests.map(() => THROTTLED);
  // What has no answer of its own was not written, for all that is known.
  return requests.map((_request, place) => answered(answer[place]));
}

/** https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchStatementError.html */
function answered(response: BatchStatementResponse | undefined): Attempt | 'refused' {
  if (response === undefined) return UNAVAILABLE;
  const { Error: error, TableName: table = 'of the sink' } = response;
  if (error === undefined) return APPLIED;
  switch (error.Code) {
    case 'ConditionalCheckFailed':
    case 'DuplicateItem':
    case 'ValidationError':
    case 'ItemCollectionSizeLimitExceeded':
      return 'refused';
    case 'ThrottlingError':
    case 'ProvisionedThroughputExceeded':
    case 'RequestLimitExceeded':
      return THROTTLED;
    case 'AccessDenied':
      throw new CausewayError('sink_credentials', `the table ${table}: AccessDenied: ${error.Message ?? ''}`);
    case 'ResourceNotFound':
      throw new CausewayError('sink_misconfigured', `the table ${table}: ResourceNotFound`);
    default:
      return UNAVAILABLE;
  }
}

/** By the row's place. */
async function putAlone(
  client: Sender,
  rows: readonly TableRow[],
  places: readonly number[],
  signal: AbortSignal,
): Promise<ReadonlyMap<number, Attempt>> {
  const attempts = await allEnded(
    places.map(async (at) => {
      const { shape, change } = present(rows[at], 'a row');
      return [at, (await unlessThrottled(writeRow(client, shape, change, signal))) ?? THROTTLED] as const;
    }),
  );
  return new Map(attempts);
}

async function bothEnded<A, B>(a: Promise<A>, b: Promise<B>): Promise<readonly [A, B]> {
  await allEnded<unknown>([a, b]);
  return [await a, await b];
}
