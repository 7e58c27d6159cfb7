import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type TempFolder = Disposable & { readonly path: string };

/** A folder of its own that goes away with its scope. */
export function tempFolder(): TempFolder {
  const path = mkdtempSync(join(tmpdir(), 'causeway-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}
