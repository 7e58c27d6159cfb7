// Finds the servers that the integration tests share, one for each major version: an address in the environment, else a
// container where a container engine answers, else a server of our own.
import pg from 'pg';
import { containerEngine } from './container-engine.ts';
import { postgresPackages, type PostgresMajor } from './postgres-binaries.ts';
import { PostgresServer } from './postgres-server.ts';

export interface SharedServer {
  /** A superuser's, of the database `postgres`. */
  readonly url: string;
  readonly from: 'environment' | 'container' | 'embedded';
}

/** By major version; a version that is not to be had is absent. */
export type SharedServers = Partial<Record<PostgresMajor, SharedServer>>;

export interface StartedServers {
  readonly servers: SharedServers;
  /** Why a version is absent. */
  readonly missing: readonly string[];
  readonly stop: () => Promise<void>;
}

/** 14 and 18, the oldest and the newest, unless CAUSEWAY_TEST_POSTGRES_MAJORS names others (`15,16`). */
export function wantedMajors(): PostgresMajor[] {
  const named = process.env['CAUSEWAY_TEST_POSTGRES_MAJORS'] ?? '14,18';
  return named.split(',').map((text) => {
    const major = Number(text);
    if (!isMajor(major))
      throw new Error(`CAUSEWAY_TEST_POSTGRES_MAJORS names ${text}; known are ${Object.keys(postgresPackages).join(', ')}`);
    return major;
  });
}

function isMajor(major: number): major is PostgresMajor {
  return major in postgresPackages;
}

/** CI sets this: there, a system that is not to be had is a failure. */
export function servicesRequired(): boolean {
  return process.env['CAUSEWAY_TEST_SERVICES'] === 'required';
}

export async function startSharedServers(): Promise<StartedServers> {
  const addresses = await addressesFromEnvironment();
  const stops: (() => Promise<unknown>)[] = [];
  const missing: string[] = [];
  const servers: SharedServers = {};
  await Promise.all(
    wantedMajors().map(async (major) => {
      const address = addresses.get(major);
      if (address !== undefined) {
        servers[major] = { url: address, from: 'environment' };
        return;
      }
      try {
        const started = (await startContainer(major)) ?? (await startEmbedded(major));
        servers[major] = started.server;
        stops.push(started.stop);
      } catch (error) {
        missing.push(`PostgreSQL ${major}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }),
  );
  return { servers, missing, stop: () => stopAll(stops) };
}

async function stopAll(stops: readonly (() => Promise<unknown>)[]): Promise<void> {
  await Promise.all(stops.map((stop) => stop()));
}

/** CAUSEWAY_TEST_POSTGRES_URL_18, or CAUSEWAY_TEST_POSTGRES_URL for whatever version it leads to. */
async function addressesFromEnvironment(): Promise<Map<PostgresMajor, string>> {
  const found = new Map<PostgresMajor, string>();
  const anyVersion = process.env['CAUSEWAY_TEST_POSTGRES_URL'];
  if (anyVersion !== undefined) {
    const client = new pg.Client({ connectionString: anyVersion });
    await client.connect();
    const { rows } = await client.query<{ version: string }>("SELECT current_setting('server_version_num') AS version");
    await client.end();
    const major = Math.floor(Number(rows[0]?.version) / 10_000);
    if (!isMajor(major)) throw new Error(`CAUSEWAY_TEST_POSTGRES_URL leads to PostgreSQL ${major}, which is not supported`);
    found.set(major, anyVersion);
  }
  for (const major of wantedMajors()) {
    const url = process.env[`CAUSEWAY_TEST_POSTGRES_URL_${major}`];
    if (url !== undefined) found.set(major, url);
  }
  return found;
}

interface Started {
  readonly server: SharedServer;
  readonly stop: () => Promise<void>;
}

async function startEmbedded(major: PostgresMajor): Promise<Started> {
  const server = await PostgresServer.create({ major });
  return { server: { url: server.url(), from: 'embedded' }, stop: () => server.dispose() };
}

async function startContainer(major: PostgresMajor): Promise<Started | undefined> {
  const engine = await containerEngine();
  if (engine === undefined) return undefined;
  const { GenericContainer, Wait } = engine;
  const container = await new GenericContainer(`postgres:${major}`)
    .withEnvironment({ POSTGRES_PASSWORD: 'causeway' })
    .withCommand([
      'postgres',
      ...['wal_level=logical', 'max_connections=300', 'max_wal_senders=100', 'max_replication_slots=100', 'fsync=off'].flatMap(
        (setting) => ['-c', setting],
      ),
    ])
    .withExposedPorts(5432)
    // The image starts a first server for its own set-up, and the real one after it.
    .withWaitStrategy(Wait.forLogMessage(/database system is ready to accept connections/, 2))
    .start();
  const url = `postgres://postgres:causeway@${container.getHost()}:${container.getMappedPort(5432)}/postgres`;
  return { server: { url, from: 'container' }, stop: () => stopAll([() => container.stop()]) };
}
