// Fetches or builds the real systems that tests run against and that npm does not have, once, beside the checkout:
// `npm run test:services -- kafka dynamodb kubernetes`, or all of them without a name. What is there already is left alone.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { archiveBrokerClasses } from '../test/support/kafka-cluster.ts';
import { testCache } from '../test/support/postgres-binaries.ts';
import {
  classArchive,
  hasProgram,
  recipeFolder,
  serviceFolder,
  type ServiceName,
  serviceNames,
  serviceVersion,
} from '../test/support/service-cache.ts';

const copyDependencies = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies';

mkdirSync(testCache(), { recursive: true });
// Beside the target, since a folder is only renamed within a file system. Two runs at once have one each.
const scratch = mkdtempSync(join(testCache(), 'fetching-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1));

for (const name of namedServices()) {
  const target = serviceFolder(name);
  if (existsSync(target)) console.log(`${name} ${serviceVersion(name)} is there: ${target}`);
  else {
    console.log(`fetching ${name} ${serviceVersion(name)} into ${target}`);
    const fresh = join(scratch, name);
    if (name === 'kubernetes') buildApiServer(fresh);
    else fetchJars(name, fresh);
    putInPlace(fresh, target);
  }
  if (name === 'kafka' && !existsSync(classArchive(name))) {
    const fresh = join(scratch, 'kafka.jsa');
    await archiveBrokerClasses(fresh);
    renameSync(fresh, classArchive(name));
  }
}

function namedServices(): readonly ServiceName[] {
  const named = process.argv.slice(2);
  const unknown = named.filter((name) => !(serviceNames as string[]).includes(name));
  if (unknown.length > 0) throw new Error(`unknown: ${unknown.join(', ')}; known are ${serviceNames.join(', ')}`);
  return named.length === 0 ? serviceNames : serviceNames.filter((name) => named.includes(name));
}

function fetchJars(name: ServiceName, fresh: string): void {
  run('mvn', [
    '--quiet',
    '--batch-mode',
    // Maven's usual folder is not safe for two runs at once.
    `-Dmaven.repo.local=${join(scratch, 'maven')}`,
    ...['--file', join(recipeFolder(name), 'pom.xml')],
    copyDependencies,
    '-DincludeScope=runtime',
    `-DoutputDirectory=${fresh}`,
  ]);
  const wanted = readFileSync(join(recipeFolder(name), 'sha256sums'), 'utf8')
    .trim()
    .split('\n')
    .sort();
  const found = readdirSync(fresh)
    .map((file) => `${sha256(join(fresh, file))}  ${file}`)
    .sort();
  const differences = [
    ...wanted.filter((line) => !found.includes(line)).map((line) => `- ${line}`),
    ...found.filter((line) => !wanted.includes(line)).map((line) => `+ ${line}`),
  ];
  if (differences.length > 0) throw new Error(`what was fetched for ${name} is not what sha256sums says:\n${differences.join('\n')}`);
}

/** go.sum holds the checksums of every module. */
function buildApiServer(fresh: string): void {
  cpSync(recipeFolder('kubernetes'), fresh, { recursive: true });
  const version = `-X k8s.io/component-base/version.gitVersion=v${serviceVersion('kubernetes')}`;
  run('go', ['build', '-mod=readonly', '-trimpath', '-buildvcs=false', '-ldflags', `-s -w ${version}`, '-o', 'kube-apiserver', '.'], fresh);
}

function run(program: string, args: readonly string[], cwd?: string): void {
  if (!hasProgram(program)) throw new Error(`${program} is not installed`);
  execFileSync(program, args, { stdio: ['ignore', 'inherit', 'inherit'], ...(cwd === undefined ? {} : { cwd }) });
}

function putInPlace(fresh: string, target: string): void {
  try {
    renameSync(fresh, target);
  } catch (error) {
    // Another run was quicker, and its copy is as good.
    if (!existsSync(target)) throw error;
  }
}

function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}
