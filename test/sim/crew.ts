// The threads of `npm run sim`, each with a stretch of seeds in hand.
import { Worker } from 'node:worker_threads';
import type { ChunkResult } from './chunk.ts';

export type Stretch = { readonly from: number; readonly count: number };

type Message = { readonly tag: 'seed'; readonly seed: number } | { readonly tag: 'done'; readonly result: ChunkResult };

/** A seed that takes more of the processor goes round in a circle. Not the clock's time: a loaded machine is no defect. */
const SEED_CPU_MS_MAX = 60_000;
const LOOK_MS = 5_000;

/** Has the stretches run by so many threads. Throws where a seed comes to no end, or ends its thread. */
export async function runStretches(stretches: readonly Stretch[], threads: number, take: (result: ChunkResult) => void): Promise<void> {
  const left = [...stretches];
  await Promise.all(Array.from({ length: Math.min(threads, left.length) }, () => drive(left, take)));
}

/** One thread, for as long as there are stretches. */
async function drive(left: Stretch[], take: (result: ChunkResult) => void): Promise<void> {
  const worker = new Worker(new URL('worker.ts', import.meta.url));
  let [seed, sinceCpuMs] = [0, 0];
  const looking = setInterval(() => {
    const of = seed;
    const look = ({ user, system }: NodeJS.CpuUsage): void => {
      const cpuMs = (user + system) / 1_000;
      if (of !== seed || sinceCpuMs === 0) sinceCpuMs = cpuMs;
      else if (cpuMs - sinceCpuMs > SEED_CPU_MS_MAX) worker.emit('error', new Error('it does not come to an end'));
    };
    worker.cpuUsage().then(look, () => undefined);
  }, LOOK_MS);
  try {
    await new Promise<void>((resolve, reject) => {
      const next = (): void => {
        const stretch = left.shift();
        if (stretch === undefined) resolve();
        else worker.postMessage(stretch);
      };
      worker.on('message', (message: Message) => {
        if (message.tag === 'seed') {
          ({ seed } = message);
          sinceCpuMs = 0;
          return;
        }
        take(message.result);
        next();
      });
      worker.on('error', (error: unknown) => reject(new Error(`seed ${seed} ended the thread`, { cause: error })));
      worker.on('exit', () => reject(new Error(`seed ${seed} ended the thread`)));
      next();
    });
  } finally {
    clearInterval(looking);
    await worker.terminate();
  }
}
