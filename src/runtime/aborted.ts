/** A signal aborts while something is awaited, which the type checker cannot see: it takes the last answer for the next one. */
export function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
