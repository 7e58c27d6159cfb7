import type { TestProject } from 'vitest/node';
import { servicesRequired, type SharedServers, startSharedServers } from './postgres-servers.ts';
import { type SharedServices, startServiceHost } from './shared-services.ts';

declare module 'vitest' {
  interface ProvidedContext {
    readonly postgres: SharedServers;
    readonly services: SharedServices;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const [postgres, host] = await Promise.all([startSharedServers(), startServiceHost()]);
  const missing = [...postgres.missing, ...host.missing];
  const stop = async (): Promise<void> => {
    await Promise.all([postgres.stop(), host.stop()]);
  };
  if (missing.length > 0) {
    const text = `NOT TO BE HAD, so its tests ${servicesRequired() ? 'FAIL' : 'are SKIPPED'}:\n  ${missing.join('\n  ')}\n`;
    if (servicesRequired()) {
      await stop();
      throw new Error(text);
    }
    process.stderr.write(`\n${text}\n`);
  }
  project.provide('postgres', postgres.servers);
  project.provide('services', host.services);
  return stop;
}
