// The daemon's resident memory while a store of another cloud answers nothing, and while it takes what has come meanwhile.
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { DynamoDbLocal } from '../../test/support/dynamodb-local.ts';
import { SpannerEmulator } from '../../test/support/spanner-emulator.ts';
import { SpannerHost } from '../../test/support/spanner-sink-context.ts';
import { Arena, until } from '../arena.ts';
import { writeBacklog } from '../load.ts';
import { peakKiBOf } from '../usage.ts';
import type { MemoryResult } from './memory.ts';

const GOAL_MIB = 256;
const IDLE_MS = 10_000;
/** Of taking what has come, which lasts longer than anybody wants to wait at a local store. */
const RESUMED_MS = 60_000;

type Store = AsyncDisposable & {
  readonly sink: Readonly<Record<string, unknown>>;
  readonly env: Readonly<Record<string, string>>;
  pause(): void;
  resume(): void;
};

const stores: Readonly<Record<'dynamodb' | 'spanner', () => Promise<Store>>> = {
  dynamodb: async () => {
    const local = await DynamoDbLocal.create();
    return {
      sink: { kind: 'dynamodb', region: 'eu-west-1', endpoint: local.endpoint, provision: 'create' },
      env: { AWS_ACCESS_KEY_ID: 'bench', AWS_SECRET_ACCESS_KEY: 'bench' },
      pause: () => local.pause(),
      resume: () => local.resume(),
      [Symbol.asyncDispose]: () => local.dispose(),
    };
  },
  spanner: async () => {
    const emulator = await SpannerEmulator.create();
    await using host = await SpannerHost.create(emulator.endpoint);
    const { kind, project, instance, database, endpoint, provision } = await host.database('GOOGLE_STANDARD_SQL');
    return {
      sink: { kind, project, instance, database, endpoint, provision },
      env: {},
      pause: () => emulator.pause(),
      resume: () => emulator.resume(),
      [Symbol.asyncDispose]: () => emulator.dispose(),
    };
  },
};

/** For Spanner the goal is over the daemon that idles with the client loaded. */
export async function memoryStalledCase(of: { readonly kind: 'dynamodb' | 'spanner'; readonly rows: number }): Promise<MemoryResult[]> {
  await using arena = await Arena.create();
  await using store = await stores[of.kind]();
  const daemon = await arena.start('memory', 'capture,apply', { sink: store.sink, env: store.env });
  await arena.untilActive('causeway_memory', daemon);
  // The sink has taken its partitions, and its client is loaded.
  await until(() => daemon.isApplying(), 'the sink has its partitions', daemon);
  await sleep(IDLE_MS);
  const idleMiB = (peakKiBOf(daemon.pid) ?? NaN) / 1_024;
  const startMs = performance.now();
  store.pause();
  await writeBacklog(arena.client, 'thousands', of.rows);
  // Until capture is through: everything stands in the log, and nothing at the sink.
  await arena.untilSql(
    "SELECT 1 FROM pg_replication_slots WHERE slot_name = 'causeway_memory' AND confirmed_flush_lsn >= (SELECT pg_current_wal_lsn() - 65536)",
    arena.client,
    daemon,
  );
  const stalledMiB = (peakKiBOf(daemon.pid) ?? NaN) / 1_024;
  store.resume();
  await sleep(RESUMED_MS);
  const peakMiB = (peakKiBOf(daemon.pid) ?? NaN) / 1_024;
  const seconds = (performance.now() - startMs) / 1_000;
  await daemon.kill();
  const goalMiB = of.kind === 'spanner' ? idleMiB + GOAL_MIB : GOAL_MIB;
  const result = {
    name: `memory-stalled-${of.kind}`,
    what: `${of.rows} row changes while ${of.kind} answers nothing, then ${RESUMED_MS / 1_000} s of applying them`,
    goal: of.kind === 'spanner' ? `less than ${GOAL_MIB} MiB above the idle daemon` : `less than ${GOAL_MIB} MiB`,
    reached: Math.max(stalledMiB, peakMiB) < goalMiB,
    peakMiB,
    seconds,
    usage: [],
    loadAverage: loadavg()[0] ?? 0,
  };
  console.log(
    `\n${result.name}: ${result.what}\n  peak resident memory of the daemon: idle ${idleMiB.toFixed(0)} MiB, stalled ${stalledMiB.toFixed(0)} MiB, ` +
      `applying ${peakMiB.toFixed(0)} MiB; goal ${result.goal}\n  ${result.reached ? 'reached' : 'NOT REACHED'}`,
  );
  return [result];
}
