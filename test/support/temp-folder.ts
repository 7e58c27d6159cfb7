import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type TempFolder = Disposable & { readonly path: string };

/** A folder of its own that goes away with its scope. */
export function tempFolder(under = tmpdir()): TempFolder {
  const path = mkdtempSync(join(under, 'causeway-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}
