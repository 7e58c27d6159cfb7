// The file of the embedded log, damaged anywhere: what is read from it is what was written, or there is an error with a code.
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { RowKey } from '#core/key.ts';
import type { Offset } from '#core/position.ts';
import type { Sequence } from '#core/sequence.ts';
import { EmbeddedLog } from '../../../connectors/log-embedded/log.ts';
import { silentLogger } from '../../support/silent-logger.ts';
import { realRuntime } from '../../support/test-runtime.ts';
import type { Chance } from '../chance.ts';
import { MARKER, type Reaction, type Target } from '../target.ts';

const PARTITIONS = 2;
const never = new AbortController().signal;

export async function logFileTarget(): Promise<Target> {
  // In memory where there is such a place: each input is a file of its own.
  const place = statSync('/dev/shm', { throwIfNoEntry: false }) === undefined ? tmpdir() : '/dev/shm';
  const folder = mkdtempSync(join(place, 'causeway-fuzz-'));
  const whole = await wholeFile(join(folder, 'whole.db'));
  let inputs = 0;
  return {
    name: 'log-file',
    weight: 8,
    form: 'hex',
    make: (chance) => places(chance, whole),
    async react(input) {
      inputs += 1;
      const path = join(folder, `${inputs}.db`);
      writeFileSync(path, damagedAt(whole, input));
      try {
        return await read(path);
      } finally {
        for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(path + suffix, { force: true });
      }
    },
    [Symbol.asyncDispose]: () => {
      rmSync(folder, { recursive: true, force: true });
      return Promise.resolve();
    },
  };
}

function valueOf(partition: number, index: number): string {
  return `${MARKER} ${partition} ${index} ${'v'.repeat(index * 7)}`;
}

function openLog(path: string): EmbeddedLog {
  const limits = { partitions: PARTITIONS, bytesMax: 2 ** 26, thread: false, recordBytesMax: 2 ** 20 };
  return new EmbeddedLog({ path, pipeline: 'orders', ...limits, runtime: realRuntime(), logger: silentLogger });
}

async function wholeFile(path: string): Promise<Buffer> {
  await using log = openLog(path);
  await log.provision(never);
  await using writer = await log.writer(never);
  for (let index = 0; index < 12; index += 1) {
    const records = Array.from({ length: PARTITIONS }, (_, partition) => ({
      partition,
      key: `["t","${MARKER}${index}"]`,
      value: Buffer.from(valueOf(partition, index)),
    }));
    await writer.append(records, never);
  }
  const letter = { sequence: '0'.repeat(48) as Sequence, code: 'value_refused', reason: 'x', committedAtMicros: 1 };
  await (
    await log.deadLetters('copy').take(0, never)
  ).park([{ ...letter, key: `["t","${MARKER}"]` as RowKey, record: Buffer.from(MARKER) }], never);
  await log[Symbol.asyncDispose]();
  using database = new DatabaseSync(path);
  database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  return readFileSync(path);
}

/** An input is a list of changes: place and byte, so that the corpus stays small. The last two bytes cut the file. */
function places(chance: Chance, whole: Buffer): Buffer {
  const changes = Array.from({ length: chance.below(12) }, () => {
    const change = Buffer.alloc(5);
    // The heads of file and pages decide most.
    const page = chance.below(whole.length / 512) * 512;
    change.writeUInt32BE(chance.is(0.5) ? Math.min(whole.length - 1, page + chance.below(64)) : chance.below(whole.length));
    change[4] = chance.is(0.5) ? chance.among([0, 1, 0x7f, 0x80, 0xff]) : chance.below(256);
    return change;
  });
  const cut = Buffer.alloc(2);
  if (chance.is(0.1)) cut.writeUInt16BE(chance.below(whole.length / 512));
  return Buffer.concat([...changes, cut]);
}

function damagedAt(whole: Buffer, input: Buffer): Buffer {
  const file = Buffer.from(whole);
  for (let at = 0; at + 5 <= input.length - 2; at += 5) {
    const place = input.readUInt32BE(at);
    if (place < file.length) file[place] = input[at + 4] ?? 0;
  }
  const cut = input.length < 2 ? 0 : input.readUInt16BE(input.length - 2) * 512;
  return cut === 0 ? file : file.subarray(0, cut);
}

async function read(path: string): Promise<Reaction> {
  try {
    await using log = openLog(path);
    const ends = await log.ends(never);
    for (const [partition, { start }] of ends.entries()) {
      for await (const batch of log.read(partition, start, never)) {
        for (const { offset, value } of batch.records) expectValue(partition, offset, value);
      }
    }
    const letters = [];
    for await (const letter of log.deadLetters('copy').read(0, never)) letters.push(letter.key);
    await log.usage(never);
    await log.retain(['copy'], never);
    await using writer = await log.writer(never);
    await writer.append([{ partition: 1, key: null, value: Buffer.from('new') }], never);
    return {};
  } catch (error) {
    if (error instanceof WrongRecord) throw error;
    return { thrown: error };
  }
}

class WrongRecord extends Error {}

function expectValue(partition: number, offset: Offset, value: Uint8Array): void {
  if (Buffer.from(value).toString() === valueOf(partition, offset)) return;
  throw new WrongRecord(`the record at offset ${offset} of partition ${partition} is not the one that was written`);
}
