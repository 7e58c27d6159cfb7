// `npm run bench -- <case> [--runs N] [--rows N] [--json FILE]`: see README.md.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { applyCase } from './cases/apply.ts';
import { backlogCase } from './cases/backlog.ts';
import { captureKafkaCase } from './cases/capture-kafka.ts';
import { captureCase } from './cases/capture.ts';
import { type HandoverResult, handoverCase } from './cases/handover.ts';
import { idleCase, type IdleResult } from './cases/idle.ts';
import { latencyKafkaCase } from './cases/latency-kafka.ts';
import { latencyCase } from './cases/latency.ts';
import { memoryStalledCase } from './cases/memory-stalled.ts';
import { type MemoryResult, memoryCase } from './cases/memory.ts';
import { reconcileCase } from './cases/reconcile.ts';
import { reconcileDynamoDbCase, type UnitsResult } from './cases/reconcile-dynamodb.ts';
import { sinkDynamoDbCase } from './cases/sink-dynamodb.ts';
import { sinkSpannerCase } from './cases/sink-spanner.ts';
import { snapshotCase } from './cases/snapshot.ts';
import { machine } from './machine.ts';
import type { Result } from './pairs.ts';
import { printResult } from './report.ts';

type Options = { readonly runs: number; readonly rows: number | null };

type AnyResult = Result | MemoryResult | HandoverResult | IdleResult | UnitsResult;

const cases: Readonly<Record<string, (options: Options) => Promise<AnyResult[]>>> = {
  capture: ({ runs, rows }) => captureCase({ runs, rows: rows ?? 1_000_000 }),
  'apply-sidecar': ({ runs, rows }) => applyCase({ runs, rows: rows ?? 300_000, register: 'sidecar' }),
  'apply-inline': ({ runs, rows }) => applyCase({ runs, rows: rows ?? 300_000, register: 'inline' }),
  'backlog-sidecar': ({ runs, rows }) => backlogCase({ runs, rows: rows ?? 300_000, kind: 'thousands', register: 'sidecar', goal: 0.6 }),
  'backlog-inline': ({ runs, rows }) => backlogCase({ runs, rows: rows ?? 300_000, kind: 'thousands', register: 'inline', goal: 0.9 }),
  'backlog-single': ({ runs, rows }) => backlogCase({ runs, rows: rows ?? 100_000, kind: 'single', register: 'sidecar', goal: 1.5 }),
  latency: ({ runs, rows }) => latencyCase({ runs, seconds: Math.round((rows ?? 20_000) / 1_000) }),
  handover: ({ runs }) => handoverCase({ runs, log: 'embedded' }),
  'handover-kafka': ({ runs }) => handoverCase({ runs, log: 'kafka' }),
  'capture-kafka': ({ runs, rows }) => captureKafkaCase({ runs, rows: rows ?? 500_000 }),
  'latency-kafka': ({ runs, rows }) => latencyKafkaCase({ runs, seconds: Math.round((rows ?? 20_000) / 1_000) }),
  snapshot: ({ runs, rows }) => snapshotCase({ runs, rows: rows ?? 1_000_000 }),
  reconcile: ({ runs, rows }) => reconcileCase({ runs, rows: rows ?? 1_000_000 }),
  'reconcile-dynamodb': ({ rows }) => reconcileDynamoDbCase({ rows: rows ?? 1_000 }),
  'sink-dynamodb': ({ runs, rows }) => sinkDynamoDbCase({ runs, rows: rows ?? 200_000 }),
  'sink-spanner': ({ runs, rows }) => sinkSpannerCase({ runs, rows: rows ?? 20_000 }),
  idle: ({ runs, rows }) => idleCase({ runs, seconds: Math.round((rows ?? 60_000) / 1_000) }),
  'memory-transaction': ({ rows }) => memoryCase({ kind: 'transaction', rows: rows ?? 1_000_000 }),
  'memory-stalled-dynamodb': ({ rows }) => memoryStalledCase({ kind: 'dynamodb', rows: rows ?? 1_000_000 }),
  'memory-stalled-spanner': ({ rows }) => memoryStalledCase({ kind: 'spanner', rows: rows ?? 1_000_000 }),
  'memory-stopped-sink': ({ rows }) => memoryCase({ kind: 'stopped-sink', rows: rows ?? 1_000_000 }),
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string', default: '5' }, rows: { type: 'string' }, json: { type: 'string' } },
});
const names = positionals.length === 0 || positionals[0] === 'all' ? Object.keys(cases) : positionals;
// What is measured is what gets installed. Compiled anew, so that it is the checkout as it stands; in a process of its own, since the
// arguments of this one would name the folder that it compiles to.
execFileSync(process.execPath, [join(import.meta.dirname, '../scripts/build.ts')], { stdio: 'inherit' });

const options = { runs: Number(values.runs), rows: values.rows === undefined ? null : Number(values.rows) };
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130));

const results: AnyResult[] = [];
for (const name of names) {
  const run = cases[name];
  if (run === undefined) {
    console.error(`no case ${name}; there are: ${Object.keys(cases).join(', ')}, all`);
    process.exit(2);
  }
  for (const result of await run(options)) {
    if ('pairs' in result) printResult(result);
    results.push(result);
  }
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ machine: machine(), results }, null, 2)}\n`);
process.exit(0);
