#!/usr/bin/env -S node --max-semi-space-size=8 --heap-growing-percent=100
// Without these V8 lets its young generation alone grow to 128 MB on a machine with much memory: docs/performance.md has the figures.
import { runCommandLine } from './cli/program.ts';

/** Ends a command that waits. The daemon takes its signals itself. */
const interrupted = new AbortController();
process.once('SIGINT', () => interrupted.abort(new DOMException('interrupted', 'AbortError')));

process.exitCode = await runCommandLine(process.argv.slice(2), {
  stdout: (text) => void process.stdout.write(text),
  stderr: (text) => void process.stderr.write(text),
  env: process.env,
  signal: interrupted.signal,
});
