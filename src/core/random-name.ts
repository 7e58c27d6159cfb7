import type { Runtime } from './runtime.ts';

/** Sixteen hex digits: a name that nobody else takes. */
export function randomName(runtime: Runtime): string {
  const half = (): string =>
    Math.floor(runtime.random() * 0x1_0000_0000)
      .toString(16)
      .padStart(8, '0');
  return half() + half();
}
