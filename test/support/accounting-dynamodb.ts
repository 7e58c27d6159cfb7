// The judge where the ledger is copied to DynamoDB: its streams tell every effect that an item had, its tables what stands there now, and
// the source what should. Nothing of the product takes part.
import type pg from 'pg';
import { compareMarks, compareRows, firstFew, rowsOf, type Judgement } from './accounting.ts';
import { effectsOf, itemsOf, type Place } from './dynamodb-effects.ts';
import { impossibleEffects } from './impossible-effects.ts';
import { ledgerTables, type WriterAccount } from './ledger-writer.ts';

type Item = Awaited<ReturnType<typeof itemsOf>>[number];

const own = /^cw_/;

export async function judgeItems(source: pg.Client, place: Place, accounts: readonly WriterAccount[]): Promise<Judgement> {
  const differentTables: string[] = [];
  const unmatchedRegisters: string[] = [];
  const repeatedEffects: string[] = [];
  const fallingSequences: string[] = [];
  const marks = new Set<string>();
  let effects = 0;
  for (const table of ledgerTables) {
    const items = await itemsOf(place, table);
    const live = items.filter((item) => item['cw_deleted'] === undefined).map(rowOf);
    if (table === 'ledger.marks') for (const { writer = '', number = '' } of live) marks.add(`${writer}/${number}`);
    const difference = compareRows(await rowsOf(source, table), live);
    if (difference !== null) differentTables.push(`${table}: ${difference}`);
    unmatchedRegisters.push(...items.filter((item) => !isRegister(item)).map((item) => `${table} ${JSON.stringify(item)}`));
    const happened = await effectsOf(place, table);
    const { repeated, falling, gone } = impossibleEffects(happened);
    repeatedEffects.push(...repeated.map((one) => `${table} ${one}`));
    fallingSequences.push(...falling.map((one) => `${table} ${one}`));
    unmatchedRegisters.push(...gone.map((one) => `${table} ${one} is gone`));
    effects += happened.length;
  }
  return {
    marks: marks.size,
    effects,
    verdict: {
      ...(await compareMarks(source, marks, accounts)),
      differentTables,
      repeatedEffects: firstFew(repeatedEffects),
      fallingSequences: firstFew(fallingSequences),
      unmatchedRegisters: firstFew(unmatchedRegisters),
    },
  };
}

/** Each item has a sequence; a deleted one its key besides, and nothing else. All keys of the ledger are numbers, in one or two columns. */
function isRegister(item: Item): boolean {
  const { cw_seq: sequence, cw_deleted: deleted } = item;
  if (sequence?.B === undefined || Buffer.from(sequence.B, 'base64').length !== 24) return false;
  if (deleted === undefined) return true;
  const names = Object.keys(item).filter((name) => !own.test(name));
  return names.every((name) => ['id', 'writer', 'number'].includes(name)) && Object.keys(item).length === names.length + 2;
}

function rowOf(item: Item): Readonly<Record<string, string>> {
  const columns = Object.entries(item).filter(([name]) => !own.test(name));
  return Object.fromEntries(columns.map(([name, { S, N }]) => [name, S ?? N ?? '']));
}
