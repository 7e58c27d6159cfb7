/**
 * Runs `main` with `beside` next to it, and ends when `main` ends. The first error of any ends all, and is thrown once all
 * have ended. Every task is given a signal and rejects with its reason when it aborts.
 */
export async function runBeside(
  tasks: { readonly main: (signal: AbortSignal) => Promise<void>; readonly beside: readonly ((signal: AbortSignal) => Promise<void>)[] },
  signal: AbortSignal,
): Promise<void> {
  const scope = new AbortController();
  const inner = AbortSignal.any([signal, scope.signal]);
  const first: { failure: { readonly error: unknown } | null } = { failure: null };
  const guarded = async (task: (signal: AbortSignal) => Promise<void>): Promise<void> => {
    try {
      await task(inner);
    } catch (error) {
      if (scope.signal.aborted) return;
      first.failure = { error };
      scope.abort(error);
    }
  };
  const others = tasks.beside.map(guarded);
  await guarded(tasks.main);
  scope.abort(new Error('the main task ended'));
  await Promise.all(others);
  if (first.failure !== null) throw first.failure.error;
}
