// The release that daemons are rolled to and back from.
import { execFileSync } from 'node:child_process';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Release } from './rolling-ground.ts';

const root = join(import.meta.dirname, '../..');

export function thisRelease(): Release {
  return { program: join(root, 'src/main.ts'), version: versionIn(root) };
}

/**
 * What `CAUSEWAY_TEST_OTHER_RELEASE` names: the folder of a checkout with its dependencies. Nothing is released yet, so without it the
 * other release is this tree, compiled as for the package, under another version.
 */
export function otherRelease(folder: string): Release {
  const given = process.env['CAUSEWAY_TEST_OTHER_RELEASE'];
  if (given !== undefined) return { program: join(given, 'src/main.ts'), version: versionIn(given) };
  const target = join(folder, 'dist');
  execFileSync(process.execPath, [join(root, 'scripts/build.ts'), target], { stdio: 'ignore' });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  const file = join(target, 'package.json');
  const version = `${versionIn(root)}-other`;
  writeFileSync(file, JSON.stringify({ ...(JSON.parse(readFileSync(file, 'utf8')) as object), version }));
  return { program: join(target, 'src/main.js'), version };
}

function versionIn(folder: string): string {
  return (JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string }).version;
}
