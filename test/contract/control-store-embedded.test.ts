import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ControlKey, ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import { EmbeddedControlStore } from '../../connectors/control-embedded/store.ts';
import { type TempFolder, tempFolder } from '../support/temp-folder.ts';
import { realRuntime, VirtualClock } from '../support/test-runtime.ts';
import { controlStoreContract, countUp } from './control-store.ts';

const never = new AbortController().signal;
const at = 'lease/p' as ControlKey;

function openAt(path: string): EmbeddedControlStore {
  return new EmbeddedControlStore({ path, runtime: realRuntime(path.length) });
}

controlStoreContract('embedded', () => {
  const folder = tempFolder();
  return Promise.resolve({
    open: () => openAt(join(folder.path, 'control.db')),
    [Symbol.asyncDispose]: () => {
      folder[Symbol.dispose]();
      return Promise.resolve();
    },
  });
});

describe('the file of the embedded control store', () => {
  let folder: TempFolder;
  let path: string;

  beforeEach(() => {
    folder = tempFolder();
    path = join(folder.path, 'control.db');
  });

  afterEach(() => folder[Symbol.dispose]());

  async function errorOf(store: ControlStore): Promise<CausewayError> {
    const error = await store.get(at, never).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    await store[Symbol.asyncDispose]();
    if (!(error instanceof CausewayError)) throw new Error('no operating error was thrown', { cause: error });
    return error;
  }

  it('loses no update of two processes that count at once', async () => {
    await using store = openAt(path);
    const module = fileURLToPath(new URL('./control-store-child.ts', import.meta.url));
    const children = [1, 2].map(() => spawn(process.execPath, [module, path, at, '100'], { stdio: 'inherit' }));
    const ends = children.map((child) => once(child, 'exit'));
    await countUp(store, at, 100);
    for (const end of ends) expect(await end).toEqual([0, null]);
    expect((await store.get(at, never))?.value).toEqual({ count: 300 });
  });

  it('is synced at every change', async () => {
    await using store = openAt(path);
    await store.get(at, never);
    const statements = vi.spyOn(DatabaseSync.prototype, 'exec');
    try {
      await store.swap({ key: at, value: 1, expected: null }, never);
      expect(statements.mock.calls.map(([sql]) => sql)).toEqual(['PRAGMA synchronous = FULL', 'BEGIN IMMEDIATE', 'COMMIT']);
    } finally {
      statements.mockRestore();
    }
    using looking = new DatabaseSync(path, { readOnly: true });
    expect(looking.prepare('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'wal' });
  });

  it('is an empty store again when the file was deleted, and no old version fits it', async () => {
    await using store = openAt(path);
    const swap = await store.swap({ key: at, value: 'old', expected: null }, never);
    for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
    expect(await store.get(at, never)).toBeNull();
    const anew = await store.swap({ key: at, value: 'new', expected: null }, never);
    expect(anew.tag).toBe('stored');
    if (swap.tag !== 'stored') throw new Error('not stored');
    expect(await store.swap({ key: at, value: 'sleeper', expected: swap.version }, never)).toMatchObject({ tag: 'conflict' });
    await using other = openAt(path);
    expect((await other.get(at, never))?.value).toBe('new');
  });

  it('is refused when it is no database', async () => {
    writeFileSync(path, 'x'.repeat(5_000));
    expect((await errorOf(openAt(path))).code).toBe('control_foreign');
    expect(readFileSync(path, 'utf8')).toBe('x'.repeat(5_000));
  });

  it("is refused, and left as it is, when it is another program's", async () => {
    {
      using foreign = new DatabaseSync(path);
      foreign.exec('CREATE TABLE theirs (id INTEGER)');
    }
    const before = readFileSync(path);
    expect((await errorOf(openAt(path))).code).toBe('control_foreign');
    expect(Buffer.compare(readFileSync(path), before)).toBe(0);
  });

  it.each([
    ['a newer', 3],
    ['an older', 1],
  ])('is refused when %s release made it', async (release, version) => {
    await openAndClose();
    {
      using database = new DatabaseSync(path);
      database.exec(`PRAGMA user_version = ${version}`);
    }
    const error = await errorOf(openAt(path));
    expect(error.code).toBe('control_foreign');
    expect(error.message).toContain(`format version ${version}, of ${release} release`);
  });

  it('is damaged when its pages are', async () => {
    await openAndClose();
    const bytes = readFileSync(path);
    writeFileSync(path, bytes.fill(0x5a, 100, bytes.length));
    expect((await errorOf(openAt(path))).code).toBe('control_damaged');
  });

  it('is damaged when a row is not JSON', async () => {
    await openAndClose();
    {
      using database = new DatabaseSync(path);
      database.exec("UPDATE control_row SET value = 'tr0ub4dor'");
    }
    const error = await errorOf(openAt(path));
    expect(error.code).toBe('control_damaged');
    expect(error.message).not.toContain('tr0ub4dor');
  });

  it('gets its directory made, and says so when that cannot be', async () => {
    const deep = join(folder.path, 'a', 'b', 'control.db');
    await using store = openAt(deep);
    expect(await store.get(at, never)).toBeNull();
    writeFileSync(join(folder.path, 'file'), '');
    const error = await errorOf(openAt(join(folder.path, 'file', 'b', 'control.db')));
    expect(error.code).toBe('control_unavailable');
    expect(error.message).toContain('ENOTDIR');
    expect(error.message).toContain(join(folder.path, 'file', 'b'));
  });

  it('is unavailable when it is a directory or cannot be opened', async () => {
    mkdirSync(path);
    expect((await errorOf(openAt(path))).code).toBe('control_unavailable');
  });

  it('is unavailable while another process holds its lock, and serves again afterwards', async () => {
    await openAndClose();
    const clock = new VirtualClock();
    await using store = new EmbeddedControlStore({ path, runtime: clock.runtime });
    using holder = new DatabaseSync(path);
    holder.exec('BEGIN IMMEDIATE');
    const swap = { key: 'other' as ControlKey, value: 1, expected: null };
    await expect(clock.runUntil(store.swap(swap, never))).rejects.toMatchObject({ code: 'control_unavailable' });
    holder.exec('ROLLBACK');
    expect((await store.swap(swap, never)).tag).toBe('stored');
  });

  async function openAndClose(): Promise<void> {
    await using store = openAt(path);
    await store.swap({ key: at, value: { n: 1 }, expected: null }, never);
    chmodSync(path, 0o600);
  }
});
