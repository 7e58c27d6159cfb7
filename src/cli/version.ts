import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { printJson, type Io } from './io.ts';

/** The version of package.json, which stands above the sources and, in the built package, above what was built of them. */
export function versionText(): string {
  let folder = import.meta.dirname;
  while (true) {
    const file = join(folder, 'package.json');
    if (existsSync(file)) {
      const content = JSON.parse(readFileSync(file, 'utf8')) as { readonly name?: unknown; readonly version?: unknown };
      if (content.name === 'causeway' && typeof content.version === 'string') return content.version;
    }
    const above = dirname(folder);
    if (above === folder) return 'unknown';
    folder = above;
  }
}

export function version(io: Io, output: 'table' | 'json'): number {
  if (output === 'json') printJson(io, 'Version', { version: versionText(), node: process.version });
  else io.stdout(`causeway ${versionText()} (node ${process.version})\n`);
  return 0;
}
