import type { Judgement, Verdict } from './accounting.ts';
import { judgeSpanner, versionTables } from './accounting-spanner.ts';
import type { GauntletSink } from './gauntlet-sink.ts';
import { postgresLedgerSink } from './ledger-load.ts';
import { PostgresServer } from './postgres-server.ts';
import { wantedMajors } from './postgres-servers.ts';
import { endTransaction, registersIn, sessionIn } from './spanner-commits.ts';
import { effectsSince, storeTime, streamStatement, type SpannerEffect } from './spanner-effects.ts';
import { SpannerEmulator } from './spanner-emulator.ts';
import { SpannerProxy, type SpannerFault } from './spanner-proxy.ts';
import { SpannerHost } from './spanner-sink-context.ts';

/** What the service answers now and then and the emulator does not: statuses of gRPC. Connections are for the proxies of the daemons. */
const CANCELLED = 1;
const UNKNOWN = 2;
const DEADLINE_EXCEEDED = 4;
const RESOURCE_EXHAUSTED = 8;
const FAILED_PRECONDITION = 9;
const ABORTED = 10;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const faults: readonly SpannerFault[] = [
  ...[CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, INTERNAL, UNAVAILABLE].map((status) => ({
    effect: 'none' as const,
    status,
  })),
  // ABORTED and RESOURCE_EXHAUSTED say that nothing took effect.
  ...[CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE].map((status) => ({ effect: 'behind' as const, status })),
];

/**
 * The emulator, which keeps everything in memory: a kill would lose what it acknowledged, so that it hangs instead. It aborts one of two
 * transactions that meet, and some that meet nothing. A Postgres server gets the same log by the same daemons and is judged as well: what
 * is wrong in one store alone is not the log's fault.
 */
export async function spannerGauntletSink(): Promise<GauntletSink> {
  const server = await SpannerEmulator.create({ abortsCommits: true });
  const host = await SpannerHost.create(server.endpoint);
  const config = await host.database('GOOGLE_STANDARD_SQL');
  const proxy = await SpannerProxy.create(server.endpoint);
  const second = await PostgresServer.create({ major: wantedMajors()[0] ?? 14 });
  const secondLedger = postgresLedgerSink(second);
  const acknowledged: SpannerEffect[] = [];
  proxy.onCommitted = (request) => acknowledged.push(...registersIn(request));
  proxy.onDeleteSession = (request) => endTransaction(host.asked(config).client, sessionIn(request));
  let since = '';
  return {
    prepare: () => secondLedger.prepare(),
    audit: async () => {
      await secondLedger.audit();
      await makeStream((statement) => host.ddl(config, statement));
      since = await storeTime(host.asked(config));
    },
    judge: async (source, accounts) =>
      together(
        await judgeSpanner(source, { ...host.asked(config), since, acknowledged }, accounts),
        await secondLedger.judge(source, accounts),
      ),
    port: proxy.port,
    configured: (port) => {
      const { project, instance, database } = config;
      return [
        `copy: { kind: spanner, project: ${project}, instance: ${instance}, database: ${database}, endpoint: 'http://127.0.0.1:${port}', provision: create }`,
        `second: { kind: postgres, url: '${second.url('app')}', provision: create }`,
      ];
    },
    env: {},
    outage: 'hang',
    goAway: async () => {
      server.pause();
      await Promise.resolve();
    },
    comeBack: async () => {
      server.resume();
      await Promise.resolve();
    },
    weather: {
      strike: (random, share) => {
        proxy.onRequest = () => (random() < share ? (faults[Math.floor(random() * faults.length)] ?? null) : null);
      },
      heal: () => proxy.heal(),
    },
    evidence: async () => [
      ...acknowledged.map((one) => JSON.stringify({ acknowledged: one })),
      ...(await effectsSince(host.asked(config), since)).map((one) => JSON.stringify({ tookEffect: one })),
    ],
    dispose: async () => {
      await host[Symbol.asyncDispose]();
      await proxy[Symbol.asyncDispose]();
      await server.dispose();
      await second.dispose();
    },
  };
}

/** The emulator refuses a change of the schema while a transaction is under way, and the daemons store their progress all the time. */
async function makeStream(ddl: (statement: string) => Promise<void>): Promise<void> {
  for (;;) {
    try {
      await ddl(streamStatement(versionTables));
      return;
    } catch (error) {
      if ((error as { readonly code?: unknown }).code !== FAILED_PRECONDITION) throw error;
    }
  }
}

function together(copy: Judgement, second: Judgement): Judgement {
  const names = Object.keys(copy.verdict) as (keyof Verdict)[];
  const lists = names.map(
    (name) => [name, [...copy.verdict[name], ...second.verdict[name].map((one) => `the second store: ${one}`)]] as const,
  );
  return { ...copy, verdict: Object.fromEntries(lists) as unknown as Verdict };
}
