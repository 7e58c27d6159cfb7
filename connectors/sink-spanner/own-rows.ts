import { CausewayError } from '#core/errors.ts';
import { fencingTokenOf } from '#core/position.ts';
import type { TableId } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';
import type { SinkProgress } from '#core/sink.ts';
import type { Held as HeldPartition } from '../lib/sink/held.ts';
import { REPORT_COLUMNS, REPORT_IDENTITY } from '../lib/sink/report-texts.ts';
import { CLAIMS_TABLE, PARTITIONS_TABLE, REPORTS_TABLE, TABLES_TABLE, type Place } from './names.ts';
import { sequenceIn } from './shape.ts';
import type { ColumnType } from './dialect.ts';
import type { Keys, Mutation, Read, ReadRow } from './transaction.ts';
import { bytesWire, NULL, textOf, textWire, type Received, type Wire } from './wire.ts';

const TEXT: ColumnType = { code: 'STRING', isArray: false };
const INT: ColumnType = { code: 'INT64', isArray: false };
const BYTES: ColumnType = { code: 'BYTES', isArray: false };

export type OwnTable = {
  readonly name: string;
  readonly columns: readonly { readonly name: string; readonly type: ColumnType; readonly nullable: boolean }[];
  readonly key: readonly string[];
};

const column = (name: string, type: ColumnType, nullable = false) => ({ name, type, nullable });
const place = [column('pipeline', TEXT), column('sink', TEXT)];

/** What the sink keeps for itself, of any number of pipelines and sinks. */
export const ownTables: readonly OwnTable[] = [
  { name: CLAIMS_TABLE, columns: [...place, column('owner', TEXT)], key: ['pipeline', 'sink'] },
  {
    name: PARTITIONS_TABLE,
    // `progress` is JSON, null before the first.
    columns: [
      ...place,
      column('partition_number', INT),
      column('owner', TEXT),
      column('token', INT),
      column('writes', INT),
      column('progress', TEXT, true),
    ],
    key: ['pipeline', 'sink', 'partition_number'],
  },
  {
    name: TABLES_TABLE,
    // Who writes a table, and how far its sweep is: `sweep_after` is a key as JSON of the service's values.
    columns: [
      column('target', TEXT),
      ...place,
      column('source_table', TEXT),
      column('swept', BYTES, true),
      column('sweeping', BYTES, true),
      column('sweep_phase', TEXT, true),
      column('sweep_after', TEXT, true),
    ],
    key: ['target'],
  },
  {
    name: REPORTS_TABLE,
    columns: [...place, column('run', TEXT), ...REPORT_COLUMNS.map((name) => column(name, TEXT, name === 'stored'))],
    key: ['pipeline', 'sink', 'run', ...REPORT_IDENTITY],
  },
];

const columnsOf = (name: string): readonly string[] => ownTables.find((one) => one.name === name)?.columns.map((one) => one.name) ?? [];

export const placeWires = ({ pipeline, sink }: Place): readonly Wire[] => [textWire(pipeline), textWire(sink)];

/** All rows of the pipeline and sink. */
function ofPlace(at: Place): Keys {
  const key = placeWires(at);
  return { tag: 'range', from: { key, isIn: true }, to: { key, isIn: true } };
}

/** A partition as it is stored. */
export type Held = HeldPartition & { readonly partition: number; readonly owner: string };

export function readPartition(at: Place, partition: number): Read {
  return {
    table: PARTITIONS_TABLE,
    columns: columnsOf(PARTITIONS_TABLE),
    keys: { tag: 'keys', keys: [[...placeWires(at), textWire(String(partition))]] },
  };
}

export function readPartitions(at: Place): Read {
  return { table: PARTITIONS_TABLE, columns: columnsOf(PARTITIONS_TABLE), keys: ofPlace(at) };
}

export function parseHeld(row: ReadRow): Held {
  const [, , partition, owner, token, writes, progress] = row;
  const text = textOf(progress);
  return {
    partition: numberIn(partition),
    owner: textIn(owner),
    token: fencingTokenOf(numberIn(token)),
    writes: numberIn(writes),
    progress: text === null ? null : (JSON.parse(text) as SinkProgress),
  };
}

export function writePartition(at: Place, { partition, owner, token, writes, progress }: Held): Mutation {
  return {
    tag: 'replace',
    table: PARTITIONS_TABLE,
    columns: columnsOf(PARTITIONS_TABLE),
    rows: [
      [
        ...placeWires(at),
        textWire(String(partition)),
        textWire(owner),
        textWire(String(token)),
        textWire(String(writes)),
        progress === null ? NULL : textWire(JSON.stringify(progress)),
      ],
    ],
  };
}

export function readClaim(at: Place): Read {
  return { table: CLAIMS_TABLE, columns: ['owner'], keys: { tag: 'keys', keys: [placeWires(at)] } };
}

export function writeClaim(at: Place, owner: string): Mutation {
  return { tag: 'replace', table: CLAIMS_TABLE, columns: columnsOf(CLAIMS_TABLE), rows: [[...placeWires(at), textWire(owner)]] };
}

/** Which of the two parts of a sweep is under way: rows by their version, or rows without one. */
export type SweepPhase = 'versions' | 'rows';

/** Who writes a table, and its sweep. */
export type TableRow = Place & {
  /** The table's name in lower case: two that differ in case alone are one. */
  readonly target: string;
  readonly source: TableId;
  /** Newest completed one. */
  readonly swept: Sequence | null;
  readonly under: { readonly sequence: Sequence; readonly phase: SweepPhase; readonly after: readonly Wire[] | null } | null;
};

export function readTable(target: string): Read {
  return { table: TABLES_TABLE, columns: columnsOf(TABLES_TABLE), keys: { tag: 'keys', keys: [[textWire(target)]] } };
}

/** Of all pipelines and sinks. */
export function readTables(): Read {
  return { table: TABLES_TABLE, columns: columnsOf(TABLES_TABLE), keys: { tag: 'range', from: null, to: null } };
}

export function parseTable(row: ReadRow): TableRow {
  const [target, pipeline, sink, source, swept, sweeping, phase, after] = row;
  const under = textOf(sweeping);
  return {
    target: textIn(target),
    pipeline: textIn(pipeline),
    sink: textIn(sink),
    source: textIn(source) as TableId,
    swept: textOf(swept) === null ? null : sequenceIn(swept),
    under:
      under === null
        ? null
        : {
            sequence: sequenceIn(sweeping),
            phase: textIn(phase) as SweepPhase,
            after: JSON.parse(textOf(after) ?? 'null') as readonly Wire[] | null,
          },
  };
}

export function writeTable({ target, source, swept, under, ...at }: TableRow): Mutation {
  return {
    tag: 'replace',
    table: TABLES_TABLE,
    columns: columnsOf(TABLES_TABLE),
    rows: [
      [
        textWire(target),
        ...placeWires(at),
        textWire(source),
        swept === null ? NULL : bytesWire(swept),
        under === null ? NULL : bytesWire(under.sequence),
        under === null ? NULL : textWire(under.phase),
        under === null ? NULL : textWire(JSON.stringify(under.after)),
      ],
    ],
  };
}

function textIn(value: Received | undefined): string {
  const text = textOf(value);
  if (text === null)
    throw new CausewayError('sink_misconfigured', 'a table that the sink keeps for itself holds a row that is not its own');
  return text;
}

function numberIn(value: Received | undefined): number {
  const number = Number(textIn(value));
  if (!Number.isSafeInteger(number)) throw new CausewayError('sink_misconfigured', 'a count that the sink keeps is damaged');
  return number;
}
