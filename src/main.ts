#!/usr/bin/env node
import { runCommandLine } from './cli/program.ts';

/** The daemon has handlers of its own; any other command ends at the first request. */
const interrupted = new AbortController();
const isDaemon = process.argv.includes('run');
if (!isDaemon) process.once('SIGINT', () => interrupted.abort(new DOMException('interrupted', 'AbortError')));

process.exitCode = await runCommandLine(process.argv.slice(2), {
  stdout: (text) => void process.stdout.write(text),
  stderr: (text) => void process.stderr.write(text),
  env: process.env,
  signal: interrupted.signal,
});
