import type { GauntletSink } from './gauntlet-sink.ts';
import { postgresLedgerSink } from './ledger-load.ts';
import { PostgresServer } from './postgres-server.ts';
import { wantedMajors } from './postgres-servers.ts';

/** A server of the oldest version. */
export async function postgresGauntletSink(): Promise<GauntletSink> {
  const server = await PostgresServer.create({ major: wantedMajors()[0] ?? 14 });
  return {
    ...postgresLedgerSink(server),
    port: server.port,
    configured: (port) => {
      const url = new URL(server.url('app'));
      url.port = String(port);
      return [`copy: { kind: postgres, url: '${url.href}', provision: create }`];
    },
    env: {},
    outage: 'kill',
    goAway: () => server.kill(),
    comeBack: () => server.start(),
    weather: null,
    evidence: null,
    dispose: () => server.dispose(),
  };
}
