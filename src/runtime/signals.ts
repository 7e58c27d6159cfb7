import type { StopRequests } from './supervisor.ts';

/** SIGTERM and SIGINT as requests to stop. Signals that come while nobody waits are kept. */
export function osStopRequests(): StopRequests & Disposable {
  const kept: string[] = [];
  const waiting: ((name: string) => void)[] = [];
  const take = (name: NodeJS.Signals): void => {
    const wake = waiting.shift();
    if (wake === undefined) kept.push(name);
    else wake(name);
  };
  process.on('SIGTERM', take);
  process.on('SIGINT', take);
  return {
    next: (signal) => {
      const ready = kept.shift();
      if (ready !== undefined) return Promise.resolve(ready);
      return new Promise((resolve) => {
        waiting.push(resolve);
        // Whoever gave up waiting must not swallow a signal; the promise is dropped unsettled, with what raced it.
        signal.addEventListener('abort', () => void waiting.splice(waiting.indexOf(resolve), waiting.includes(resolve) ? 1 : 0), {
          once: true,
        });
      });
    },
    [Symbol.dispose]: () => {
      process.removeListener('SIGTERM', take);
      process.removeListener('SIGINT', take);
    },
  };
}
