import type { Target } from './target.ts';
import { codecTarget } from './targets/codec.ts';
import { configTarget } from './targets/config.ts';
import { httpTarget } from './targets/http.ts';
import { logFileTarget } from './targets/log-file.ts';
import { frameTarget, streamTarget } from './targets/pgoutput.ts';

export async function openTargets(): Promise<readonly Target[]> {
  return [frameTarget(), streamTarget(), codecTarget(), configTarget(), await logFileTarget(), await httpTarget()];
}
