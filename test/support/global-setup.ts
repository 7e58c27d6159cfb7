import type { TestProject } from 'vitest/node';
import { servicesRequired, type SharedServers, startSharedServers } from './postgres-servers.ts';

declare module 'vitest' {
  interface ProvidedContext {
    readonly postgres: SharedServers;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { servers, missing, stop } = await startSharedServers();
  if (missing.length > 0) {
    const text = `NOT TO BE HAD, so its tests ${servicesRequired() ? 'FAIL' : 'are SKIPPED'}:\n  ${missing.join('\n  ')}\n`;
    if (servicesRequired()) {
      await stop();
      throw new Error(text);
    }
    process.stderr.write(`\n${text}\n`);
  }
  project.provide('postgres', servers);
  return stop;
}
