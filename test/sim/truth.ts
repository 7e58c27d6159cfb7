import type { RowKey } from '#core/key.ts';
import { EPOCH_FIRST } from '#core/position.ts';
import type { TableId, TableSchema } from '#core/schema.ts';
import { encodeSequence, SUB_DELETE_HALF, SUB_SNAPSHOT, SUB_WHOLE, type Sequence } from '#core/sequence.ts';
import type { SourceChange, SourceMessage } from '#core/event.ts';
import { isPartial, type Row } from '#core/value.ts';
import type { FakeDatabase, FakeTransaction } from '../support/fake-source.ts';
import { RECORD_BYTES_MAX } from './plan.ts';
import { REFUSED_MARK } from './workload.ts';

const UNREADABLE = 'unreadable';

/** How a message begins that marks one end of a chunk. */
const CHUNK_MARK = '{"kind":"chunk"';

/** What a key came to be at a sequence. */
export type Moment = {
  readonly sequence: Sequence;
  /** `unreadable`: a row is there, and its values cannot be shown. */
  readonly what: 'row' | 'gone' | 'unreadable' | 'truncated';
  /** The whole row by column; null where there is none. */
  readonly values: ReadonlyMap<string, string | null> | null;
  /** The event as the stream shows it; null for a delete. */
  readonly row: Row | null;
  readonly partial: boolean;
  /** Published without its values. */
  readonly withheld: boolean;
  /** A sink may refuse its values. */
  readonly refused: boolean;
  /** How many changes of the key stand before it; those of truncates are not counted. */
  readonly nth: number;
};

/** Everything that happened to one key. */
type History = {
  readonly table: TableId;
  readonly moments: Moment[];
  /** Without those that a truncate made. */
  readonly changes: Moment[];
  readonly bySequence: Map<Sequence, Moment>;
};

type Draft = Omit<Moment, 'nth'>;

export type TrueTransaction = {
  readonly commit: bigint;
  readonly end: bigint;
  /** Records that the log owes it: one of each change, and of each truncate one in every partition. */
  readonly changes: readonly Moment[];
  readonly truncates: readonly { readonly table: TableId; readonly sequence: Sequence }[];
};

/**
 * What the source's clients did, as the checkers know it: worked out from the committed transactions alone, by rules that are
 * written here once more on purpose.
 */
export class Truth {
  readonly #database: FakeDatabase;
  readonly #histories = new Map<RowKey, History>();
  readonly #rows = new Map<RowKey, ReadonlyMap<string, string | null>>();
  readonly #truncates = new Map<TableId, Sequence[]>();
  readonly transactions: TrueTransaction[] = [];
  /** Commit of the last transaction with rows. */
  lastCommit = 0n;
  /** Where the slot began: what was committed before is in no log, and loads bring it. */
  #begins: { readonly commit: bigint; readonly sequence: Sequence } | null = null;
  /** Marks that captures wrote into the source's log, by transaction id, and by the sequence of rows that are read at them. */
  readonly #marks = new Map<string, bigint>();
  readonly #markSequences = new Set<Sequence>();

  constructor(database: FakeDatabase) {
    this.#database = database;
  }

  /** Takes in what was committed since. */
  catchUp(): void {
    const { transactions } = this.#database;
    for (let next = this.transactions.length; next < transactions.length; next += 1) {
      this.transactions.push(this.#take(transactions[next] as FakeTransaction));
    }
  }

  /** The first time counts: whoever moves the slot later loses something. */
  begin(commit: bigint): void {
    this.#begins ??= { commit, sequence: sequenceOf(commit, 0n, 0) };
  }

  /** True for what no log shows. */
  isBefore(sequence: Sequence): boolean {
    return this.#begins === null || sequence < this.#begins.sequence;
  }

  wasBefore({ commit }: TrueTransaction): boolean {
    return this.#begins === null || commit < this.#begins.commit;
  }

  /** The commit of a mark; undefined where the transaction wrote none. */
  markOf(transactionId: string): bigint | undefined {
    return this.#marks.get(transactionId);
  }

  /** True for the sequence of rows as they were at a mark. */
  isMark(sequence: Sequence): boolean {
    return this.#markSequences.has(sequence);
  }

  get keys(): ReadonlyMap<RowKey, { readonly table: TableId; readonly moments: readonly Moment[] }> {
    return this.#histories;
  }

  moments(key: RowKey): readonly Moment[] {
    return this.#histories.get(key)?.moments ?? [];
  }

  /** The key's change number `nth`, from 0; those of truncates are not counted. */
  change(key: RowKey, nth: number): Moment | undefined {
    return this.#histories.get(key)?.changes[nth];
  }

  /** How many changes of the key stand at or below the sequence, or were made before the slot began. */
  changesUpTo(key: RowKey, sequence: Sequence | null): number {
    const changes = this.#histories.get(key)?.changes ?? [];
    return changes.findLastIndex((moment) => this.isBefore(moment.sequence) || (sequence !== null && moment.sequence <= sequence)) + 1;
  }

  at(key: RowKey, sequence: Sequence): Moment | undefined {
    return this.#histories.get(key)?.bySequence.get(sequence);
  }

  isTruncate(table: TableId, sequence: Sequence): boolean {
    return this.#truncates.get(table)?.includes(sequence) === true;
  }

  /** The newest moment of the key at or below the sequence. */
  newest(key: RowKey, upTo: Sequence | null = null): Moment | undefined {
    const moments = this.moments(key);
    if (upTo === null) return moments.at(-1);
    return moments.findLast((moment) => moment.sequence <= upTo);
  }

  #take(transaction: FakeTransaction): TrueTransaction {
    const changes: Moment[] = [];
    const truncates: { readonly table: TableId; readonly sequence: Sequence }[] = [];
    const { commit, end } = transaction;
    for (const message of transaction.messages) {
      if (message.tag === 'change') this.#change(message, commit, changes);
      if (message.tag === 'truncate') this.#truncate(message, commit, truncates);
      if (message.tag === 'message' && message.content.startsWith(CHUNK_MARK)) {
        this.#marks.set(String(transaction.xid), commit);
        this.#markSequences.add(sequenceOf(commit, 0n, SUB_SNAPSHOT));
      }
    }
    if (changes.length + truncates.length > 0) this.lastCommit = commit;
    return { commit, end, changes, truncates };
  }

  #change(message: SourceChange, commit: bigint, changes: Moment[]): void {
    const { schema, change, key } = message;
    const sequence = sequenceOf(commit, change, SUB_WHOLE);
    const add = (of: RowKey, draft: Draft): void => void changes.push(this.#add(of, schema.table, draft));
    switch (message.op) {
      case 'insert':
        add(key, this.#row(schema, { key, sequence, row: message.row, base: undefined, moved: false }));
        return;
      case 'update': {
        const from = message.oldKey ?? key;
        const base = this.#rows.get(from);
        if (message.oldKey !== null) add(message.oldKey, gone(sequenceOf(commit, change, SUB_DELETE_HALF)));
        add(key, this.#row(schema, { key, sequence, row: message.row, base, moved: message.oldKey !== null }));
        return;
      }
      case 'delete':
        add(key, gone(sequence));
        return;
      case 'unreadable': {
        // What it changed is not known, so nothing may be put on top of what was there before.
        const values = new Map(
          [...(this.#rows.get(key) ?? [])].map(([name, value]) => [name, name === 'id' ? value : `${UNREADABLE} ${sequence}`]),
        );
        add(key, { sequence, what: 'unreadable', values, row: null, partial: false, withheld: true, refused: true });
      }
    }
  }

  #row(
    schema: TableSchema,
    of: {
      readonly key: RowKey;
      readonly sequence: Sequence;
      readonly row: Row;
      readonly base: ReadonlyMap<string, string | null> | undefined;
      readonly moved: boolean;
    },
  ): Draft {
    const { row, sequence } = of;
    const values = new Map(
      schema.columns.map(({ name }, index) => [name, row[index] === undefined ? (of.base?.get(name) ?? null) : row[index]]),
    );
    return {
      sequence,
      what: 'row',
      values,
      row,
      partial: isPartial(row),
      withheld: (of.moved && isPartial(row)) || row.some((value) => (value?.length ?? 0) > RECORD_BYTES_MAX),
      refused: row.some((value) => value?.includes(REFUSED_MARK) === true),
    };
  }

  #add(key: RowKey, table: TableId, draft: Draft): Moment {
    let history = this.#histories.get(key);
    if (history === undefined) {
      history = { table, moments: [], changes: [], bySequence: new Map() };
      this.#histories.set(key, history);
    }
    const moment: Moment = { ...draft, nth: history.changes.length };
    history.moments.push(moment);
    if (moment.what !== 'truncated') history.changes.push(moment);
    history.bySequence.set(moment.sequence, moment);
    if (moment.values === null) this.#rows.delete(key);
    else this.#rows.set(key, moment.values);
    return moment;
  }

  #truncate(
    message: SourceMessage & { readonly tag: 'truncate' },
    commit: bigint,
    truncates: { readonly table: TableId; readonly sequence: Sequence }[],
  ): void {
    const sequence = sequenceOf(commit, message.change, SUB_WHOLE);
    for (const { table } of message.tables) {
      truncates.push({ table, sequence });
      this.#truncates.set(table, [...(this.#truncates.get(table) ?? []), sequence]);
      for (const [key, history] of this.#histories) {
        if (history.table !== table) continue;
        this.#add(key, table, { sequence, what: 'truncated', values: null, row: null, partial: false, withheld: false, refused: false });
      }
    }
  }
}

/** What a column holds nobody can tell since its row could not be read. */
export function isUnknown(value: string | null): boolean {
  return value?.startsWith(UNREADABLE) === true;
}

function gone(sequence: Sequence): Draft {
  return { sequence, what: 'gone', values: null, row: null, partial: false, withheld: false, refused: false };
}

function sequenceOf(commit: bigint, change: bigint, sub: number): Sequence {
  return encodeSequence({ epoch: EPOCH_FIRST, commit, change, sub });
}
