import { existsSync } from 'node:fs';
import type * as testcontainers from 'testcontainers';

export type ContainerEngine = typeof testcontainers;

/** Undefined where no container engine answers. */
export async function containerEngine(): Promise<ContainerEngine | undefined> {
  if (!hasContainerSocket()) return undefined;
  // Loaded only here: it takes a second, and most machines get by without it.
  const engine = await import('testcontainers');
  try {
    await engine.getContainerRuntimeClient();
    return engine;
  } catch {
    return undefined;
  }
}

function hasContainerSocket(): boolean {
  const named = process.env['DOCKER_HOST'];
  if (named !== undefined) return true;
  const runtimeFolder = process.env['XDG_RUNTIME_DIR'];
  const sockets = [
    '/var/run/docker.sock',
    ...(runtimeFolder === undefined ? [] : [`${runtimeFolder}/docker.sock`, `${runtimeFolder}/podman/podman.sock`]),
  ];
  return sockets.some((path) => existsSync(path));
}
