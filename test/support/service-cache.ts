// Where the real systems lie that are not packages of npm: scripts/test-services.ts fetches or builds them once, beside the checkout,
// so that a plain test run downloads nothing.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { testCache } from './postgres-binaries.ts';

/** Must agree with the recipes in `service-packages`. */
const serviceVersions = { kafka: '4.1.0', dynamodb: '2.6.1', kubernetes: '1.33.4' } as const;

export type ServiceName = keyof typeof serviceVersions;

export const serviceNames = Object.keys(serviceVersions) as ServiceName[];

export function serviceVersion(name: ServiceName): string {
  return serviceVersions[name];
}

/** The files that say what is fetched, with the checksums that it must have. */
export function recipeFolder(name: ServiceName): string {
  return join(import.meta.dirname, 'service-packages', name);
}

/**
 * The folder of the cache that holds the system, whether or not it is there yet: named by version and checksum of the recipe, so that a
 * checkout finds what its own recipe made and nothing else. A folder of this name is complete, since it is renamed into place.
 */
export function serviceFolder(name: ServiceName): string {
  const recipe = createHash('sha256');
  for (const file of readdirSync(recipeFolder(name)).sort())
    recipe.update(`${file}\n`).update(readFileSync(join(recipeFolder(name), file)));
  return join(testCache(), `${name}-${serviceVersions[name]}-${recipe.digest('hex').slice(0, 12)}`);
}

/** As `serviceFolder`; throws when it was not fetched. */
export function fetchedService(name: ServiceName): string {
  const folder = serviceFolder(name);
  if (!existsSync(folder)) throw new Error(`${name} ${serviceVersions[name]} was not fetched: npm run test:services -- ${name}`);
  return folder;
}

/**
 * Beside the folder: the classes that a Java program loads as it starts, read and verified once. It fits the Java that made it; another one
 * leaves it alone and starts as without it.
 */
export function classArchive(name: ServiceName): string {
  return `${serviceFolder(name)}.jsa`;
}

/** A program of the PATH. */
export function hasProgram(program: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some((folder) => folder !== '' && existsSync(join(folder, program)));
}
