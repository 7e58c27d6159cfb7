// The package as a user gets it: packed, installed in an empty folder, run from there.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

const root = join(import.meta.dirname, '../..');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
let folder: string;

function run(program: string, args: readonly string[], cwd: string, extra: Readonly<Record<string, string>> = {}): string {
  // The command's first line asks for `node` in the PATH: the one that runs the tests, not an older one of the machine.
  const env = { ...process.env, PATH: `${dirname(process.execPath)}${delimiter}${process.env['PATH'] ?? ''}`, ...extra };
  return execFileSync(program, args, { cwd, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'causeway-package-'));
  run('npm', ['pack', '--pack-destination', folder], root);
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true }));
  run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', `./causeway-${version}.tgz`], folder);
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

test('the installed command tells its version', () => {
  expect(run(join(folder, 'node_modules/.bin/causeway'), ['version'], folder)).toContain(version);
});

test('the installed command loads every connector that a configuration names', () => {
  const command = join(folder, 'node_modules/.bin/causeway');
  run(command, ['config', 'init'], folder);
  const addresses = { SOURCE_URL: 'postgres://a@source.invalid/app', SINK_URL: 'postgres://a@sink.invalid/app' };
  // A default that only the log's connector knows.
  expect(run(command, ['config', 'print', '-c', 'causeway.yaml'], folder, addresses)).toContain('partitions: 4');
});

test('the package holds no source, test or tool', () => {
  const installed = join(folder, 'node_modules/causeway');
  expect(['LICENSE', 'README.md', 'dist/src/main.js'].filter((path) => !existsSync(join(installed, path)))).toEqual([]);
  expect(['src', 'test', 'demo', 'scripts', 'tsconfig.json'].filter((path) => existsSync(join(installed, path)))).toEqual([]);
});
