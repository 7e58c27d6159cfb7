// The judge where the ledger is copied to Spanner: a change stream over the version tables tells every effect that a register had, the
// tables what stands there now, and the source what should. Nothing of the product takes part.
import type pg from 'pg';
import { compareMarks, compareRows, firstFew, rowsOf, type Judgement, type TextRow } from './accounting.ts';
import { impossibleEffects, type RegisterEffect } from './impossible-effects.ts';
import { ledgerTables, type WriterAccount } from './ledger-writer.ts';
import { effectsSince, hexOf, keyText, rowsIn, type SpannerAsked, type SpannerEffect } from './spanner-effects.ts';

type Register = { readonly key: string; readonly sequence: string | null; readonly isLive: boolean };

export const versionTables = ledgerTables.map((table) => `cw_v_${nameOf(table)}`);

const sequenceBytes = 24;

export type SpannerHistory = SpannerAsked & {
  /** A moment of the store before the first change, and not before its change stream was made. */
  readonly since: string;
  /** What the store was seen to acknowledge. */
  readonly acknowledged: readonly SpannerEffect[];
};

export async function judgeSpanner(
  source: pg.Client,
  { since, acknowledged, ...asked }: SpannerHistory,
  accounts: readonly WriterAccount[],
): Promise<Judgement> {
  const differentTables: string[] = [];
  const unmatchedRegisters: string[] = [];
  const repeatedEffects: string[] = [];
  const fallingSequences: string[] = [];
  let marks = new Set<string>();
  const effects = Map.groupBy(await effectsSince(asked, since), ({ table }) => table);
  for (const [at, table] of ledgerTables.entries()) {
    const versionTable = versionTables[at] ?? '';
    const found = await rowsIn(asked, nameOf(table));
    const rows = found.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, String(value)])));
    if (table === 'ledger.marks') marks = new Set(rows.map(({ writer = '', number = '' }) => `${writer}/${number}`));
    const difference = compareRows(await rowsOf(source, table), rows);
    if (difference !== null) differentTables.push(`${table}: ${difference}`);
    const registers = (await rowsIn(asked, versionTable)).map(({ cw_seq: sequence, cw_deleted: deleted, ...key }): Register => ({
      key: keyText(key),
      sequence: hexOf(sequence as string | null),
      isLive: deleted === false,
    }));
    const happened = effects.get(versionTable) ?? [];
    const { repeated, falling, gone } = impossibleEffects(happened);
    repeatedEffects.push(...repeated.map((one) => `${table} ${one}`));
    fallingSequences.push(...falling.map((one) => `${table} ${one}`));
    const wrong = [
      ...unmatched(rows, registers, table === 'ledger.marks' ? ['writer', 'number'] : ['id']),
      ...gone.map((key) => `${key} is gone`),
      ...contradictions(happened, registers).map((one) => `${one}: a defect of the store`),
      ...forgotten(
        acknowledged.filter((one) => one.table === versionTable),
        happened,
      ).map((one) => `${one}: a defect of the store`),
    ];
    unmatchedRegisters.push(...wrong.map((one) => `${table} ${one}`));
  }
  return {
    marks: marks.size,
    effects: [...effects.values()].reduce((sum, { length }) => sum + length, 0),
    verdict: {
      ...(await compareMarks(source, marks, accounts)),
      differentTables,
      repeatedEffects: firstFew(repeatedEffects),
      fallingSequences: firstFew(fallingSequences),
      unmatchedRegisters: firstFew(unmatchedRegisters),
    },
  };
}

/** Keys of rows without a live register, and the other way round; registers that have no sequence. */
function unmatched(rows: readonly TextRow[], registers: readonly Register[], key: readonly string[]): string[] {
  const keys = new Set(rows.map((row) => keyText(Object.fromEntries(key.map((name) => [name, row[name]])))));
  const live = new Set(registers.filter(({ isLive }) => isLive).map(({ key }) => key));
  return [
    ...[...keys.symmetricDifference(live)],
    ...registers.filter(({ sequence }) => sequence?.length !== 2 * sequenceBytes).map(({ key }) => `${key} has no sequence`),
  ];
}

/**
 * Registers that are not as the store's own change stream leaves them. Both are written by one commit, so that whoever asked for it has
 * no part in the difference.
 */
function contradictions(effects: readonly RegisterEffect[], registers: readonly Register[]): string[] {
  const told = new Map(effects.map(({ key, sequence }) => [key, sequence]));
  const held = new Map(registers.map(({ key, sequence }) => [key, sequence]));
  return [...new Set([...told.keys(), ...held.keys()])]
    .filter((key) => (told.get(key) ?? null) !== (held.get(key) ?? null))
    .map((key) => `${key} ends with ${told.get(key) ?? 'nothing'} in the change stream, and has ${held.get(key) ?? 'nothing'}`);
}

/** Effects that the store acknowledged, and its change stream never tells of. */
function forgotten(acknowledged: readonly RegisterEffect[], effects: readonly RegisterEffect[]): string[] {
  const text = ({ key, sequence }: RegisterEffect): string => `${key} ${sequence ?? ''}`;
  const told = new Set(effects.map(text));
  return acknowledged
    .map(text)
    .filter((one) => !told.has(one))
    .map((one) => `${one} was acknowledged, and took no effect`);
}

/** As the sink calls it. */
function nameOf(table: (typeof ledgerTables)[number]): string {
  return table.replace('ledger.', '');
}
