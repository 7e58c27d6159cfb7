/** A signal aborts while something is awaited, which the type checker cannot see: it takes the last answer for the next one. */
export function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

/** What a call that was told to end throws, whoever wrote it. */
export function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}
