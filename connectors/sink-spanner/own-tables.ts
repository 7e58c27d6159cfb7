import { CausewayError } from '#core/errors.ts';
import { fencingTokenOf } from '#core/position.ts';
import type { TableId } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';
import { hasPassed, type Floor, type SinkClaim, type SinkProgress } from '#core/sink.ts';
import { CLAIMS_TABLE, PARTITIONS_TABLE, TABLES_TABLE, type Place } from './names.ts';
import {
  parseHeld,
  parseTable,
  placeWires,
  readClaim,
  readPartition,
  readPartitions,
  readTable,
  readTables,
  writeClaim,
  writePartition,
  writeTable,
  type Held,
  type TableRow,
} from './own-rows.ts';
import type { Shape } from './shape.ts';
import { snapshot, transact, type Reader, type Store } from './transaction.ts';
import { textOf, textWire } from './wire.ts';

const WHAT = 'the tables that the sink keeps for itself';

/**
 * A claim that is missing is made, by a known sink with whatever progress is there: the database went back to a state from before the
 * claim. A sink that is not known yet never had any, so that what is there is somebody else's.
 */
export async function claimPlace(store: Store, place: Place, by: SinkClaim, signal: AbortSignal): Promise<void> {
  await transact(store, WHAT, signal, async (reader) => {
    const owner = await ownerOf(reader, place);
    if (owner === by.owner) return { result: undefined, mutations: [] };
    if (owner !== null) throw claimed(place, owner);
    const left = by.known ? [] : (await reader.read({ ...readPartitions(place), rowsMax: 1 })).rows;
    if (left.length > 0) {
      const { pipeline, sink } = place;
      throw new CausewayError(
        'sink_misconfigured',
        `the sink ${sink} is new, but holds progress of an earlier pipeline: remove that with \`causeway pipeline remove -p ${pipeline} --sink ${sink} --confirm ${pipeline}\``,
      );
    }
    return { result: undefined, mutations: [writeClaim(place, by.owner)] };
  });
}

/** Raises the fence by one, under the claim of `owner`. Errors: `sink_claimed`, `sink_unknown_progress` where the claim is gone. */
export async function raiseFence(
  store: Store,
  place: Place,
  by: { readonly partition: number; readonly owner: string },
  signal: AbortSignal,
): Promise<Held> {
  return await transact(store, WHAT, signal, async (reader) => {
    const owner = await ownerOf(reader, place);
    if (owner === null) {
      throw new CausewayError(
        'sink_unknown_progress',
        `the sink ${place.sink} has lost the claim on its progress; the next start looks what is left`,
      );
    }
    if (owner !== by.owner) throw claimed(place, owner);
    const before = await heldPartition(reader, place, by.partition);
    const held: Held = {
      ...by,
      token: fencingTokenOf((before?.token ?? 0) + 1),
      progress: before?.progress ?? null,
      writes: before?.writes ?? 0,
    };
    return { result: held, mutations: [writePartition(place, held)] };
  });
}

export async function heldPartition(reader: Reader, place: Place, partition: number): Promise<Held | null> {
  const [row] = (await reader.read(readPartition(place, partition))).rows;
  return row === undefined ? null : parseHeld(row);
}

async function ownerOf(reader: Reader, place: Place): Promise<string | null> {
  const [row] = (await reader.read(readClaim(place))).rows;
  return textOf(row?.[0]);
}

export async function allProgress(store: Store, place: Place, signal: AbortSignal): Promise<ReadonlyMap<number, SinkProgress>> {
  return await snapshot(store, WHAT, signal, (reader) => progressIn(reader, place));
}

async function progressIn(reader: Reader, place: Place): Promise<ReadonlyMap<number, SinkProgress>> {
  const found = new Map<number, SinkProgress>();
  for (const { partition, progress } of (await reader.read(readPartitions(place))).rows.map(parseHeld)) {
    if (progress !== null) found.set(partition, progress);
  }
  return found;
}

/** A sink that lost a partition's floor gets that partition's older rows again: behind a sweep that counts as done, they would stay. */
export async function checkPassed(reader: Reader, place: Place, floor: Floor, partitions: number): Promise<void> {
  const found = await progressIn(reader, place);
  for (let partition = 0; partition < partitions; partition += 1) {
    const progress = found.get(partition);
    if (progress === undefined || !hasPassed(progress, floor))
      throw new CausewayError('sink_went_back', `partition ${partition} has not passed the floor of ${floor.table}`);
  }
}

/** One table has one writer. Errors: `sink_misconfigured` where it is another one. */
export async function takeTables(store: Store, place: Place, shapes: readonly Shape[], signal: AbortSignal): Promise<void> {
  if (shapes.length === 0) return;
  await transact(store, WHAT, signal, async (reader) => {
    const known = new Map((await reader.read(readTables())).rows.map(parseTable).map((row) => [row.target, row]));
    const taken: TableRow[] = [];
    for (const { table, schema } of shapes) {
      const target = table.toLowerCase();
      const row = known.get(target);
      if (row === undefined) {
        const own = { ...place, target, source: schema.table, swept: null, under: null };
        known.set(target, own);
        taken.push(own);
      } else if (row.pipeline !== place.pipeline || row.sink !== place.sink || row.source !== schema.table) {
        throw new CausewayError(
          'sink_misconfigured',
          `the sink's table ${table} belongs to the pipeline ${row.pipeline}, sink ${row.sink}, table ${row.source}: ` +
            'remove that sink first, or map this table to another one',
        );
      }
    }
    return { result: undefined, mutations: taken.map(writeTable) };
  });
}

export async function tableRow(reader: Reader, place: Place, { table, schema }: Shape): Promise<TableRow> {
  const [found] = (await reader.read(readTable(table.toLowerCase()))).rows.map(parseTable);
  if (found?.pipeline === place.pipeline && found.sink === place.sink) return found;
  throw new CausewayError('sink_misconfigured', `the sink was not provisioned for the table ${schema.table}`);
}

export async function allSweeps(store: Store, place: Place, signal: AbortSignal): Promise<ReadonlyMap<TableId, Sequence>> {
  const rows = (await snapshot(store, WHAT, signal, (reader) => reader.read(readTables()))).rows.map(parseTable);
  const sweeps = new Map<TableId, Sequence>();
  for (const { source, swept } of rows.filter((row) => isOf(row, place))) if (swept !== null) sweeps.set(source, swept);
  return sweeps;
}

/**
 * Takes the partitions from whoever holds them, and returns the tables that are the sink's. Errors: `sink_claimed` where somebody else
 * than one of `owners` has the claim.
 */
export async function closePlace(
  store: Store,
  place: Place,
  owners: readonly string[],
  signal: AbortSignal,
): Promise<{ readonly partitions: number; readonly tables: readonly TableRow[] }> {
  return await transact(store, WHAT, signal, async (reader) => {
    const owner = await ownerOf(reader, place);
    if (owner !== null && !owners.includes(owner)) throw claimed(place, owner);
    const partitions = (await reader.read(readPartitions(place))).rows.map(parseHeld);
    const tables = (await reader.read(readTables())).rows.map(parseTable).filter((row) => isOf(row, place));
    const keys = partitions.map(({ partition }) => [...placeWires(place), textWire(String(partition))]);
    return {
      result: { partitions: partitions.length, tables },
      mutations: keys.length === 0 ? [] : [{ tag: 'delete', table: PARTITIONS_TABLE, keys }],
    };
  });
}

/** The claim goes last: until then nobody else can begin. */
export async function forgetPlace(store: Store, place: Place, tables: readonly TableRow[], signal: AbortSignal): Promise<void> {
  await transact(store, WHAT, signal, async (reader) => {
    await ownerOf(reader, place);
    return {
      result: undefined,
      mutations: [
        { tag: 'delete', table: TABLES_TABLE, keys: tables.map(({ target }) => [textWire(target)]) },
        { tag: 'delete', table: CLAIMS_TABLE, keys: [placeWires(place)] },
      ],
    };
  });
}

function isOf(row: TableRow, place: Place): boolean {
  return row.pipeline === place.pipeline && row.sink === place.sink;
}

function claimed({ pipeline, sink }: Place, owner: string): CausewayError {
  return new CausewayError(
    'sink_claimed',
    `another deployment, owner ${owner}, has the sink ${sink} of the pipeline ${pipeline} in this database: give the pipeline or the sink ` +
      `a name of its own. Where that deployment is gone for good: \`causeway pipeline remove -p ${pipeline} --sink ${sink} --owner ${owner} --confirm ${pipeline}\``,
  );
}
