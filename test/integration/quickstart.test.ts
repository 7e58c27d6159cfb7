// The quick starts, their commands as they stand there, over systems that run already.
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { compileCache, Daemon } from '../support/daemon.ts';
import { freePort } from '../support/postgres-server.ts';
import { describeNewestPostgres, TestDatabase } from '../support/postgres.ts';
import { describeShared, sharedService } from '../support/services.ts';
import { tempFolder } from '../support/temp-folder.ts';

const soon = { timeout: 30_000, interval: 200 };
const root = join(import.meta.dirname, '../..');

type QuickStart = {
  /** In which the commands stand. */
  readonly text: string;
  readonly config: string;
  /** The command that looks at the result, and what it shows when all has come. */
  readonly look: string;
  readonly result: RegExp;
  readonly env: Readonly<Record<string, string>>;
};

/** What a reader is told to run against what has been started, without comments. */
function commands(text: string): readonly string[] {
  const blocks = [...text.matchAll(/```sh\n(.*?)```/gs)].flatMap(([, block = '']) => block.split('\n'));
  const told = [...blocks, ...[...text.matchAll(/`(npm start [^`]*)`/g)].map(([, line = '']) => line)];
  return told
    .map((line) => line.replace(/\s+# .*/, ''))
    .filter((line) => /^npm (start|run quickstart -- (sql|items|database|rows))/.test(line));
}

const wordsOf = (line: string): readonly string[] =>
  [...line.replace(/^.*? -- /, '').matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? '');

/** All that the commands print. */
async function follow(quickStart: QuickStart, source: TestDatabase): Promise<string> {
  await using disposed = new AsyncDisposableStack();
  const folder = disposed.use(tempFolder());
  const port = await freePort();
  const env = { SOURCE_URL: source.url, KAFKA_BROKER: (await sharedService('kafka')).brokers[0] ?? '', ...quickStart.env };
  // What the tests share has other names than what a machine has for itself.
  const configFile = join(folder.path, basename(quickStart.config));
  const text = readFileSync(join(root, quickStart.config), 'utf8')
    .replaceAll('./data/', `${folder.path}/`)
    .replaceAll(/127\.0\.0\.1:(8080|9090)/g, `127.0.0.1:${port}`)
    .replace('causeway.main', source.name)
    .replace('tables: [public.*]', `tables: [public.*]\n      slot: ${source.name}\n      publication: ${source.name}`);
  writeFileSync(configFile, text);

  const daemons: Daemon[] = [];
  const outputs: string[] = [];
  const ran = async (program: string, words: readonly string[]): Promise<string> => {
    const options = { cwd: root, env: { ...process.env, ...compileCache, ...env } };
    return (await promisify(execFile)(process.execPath, [program, ...words], options)).stdout;
  };
  for (const line of commands(quickStart.text)) {
    const words = wordsOf(line).map((word) => (word === quickStart.config ? configFile : word));
    const program = line.startsWith('npm start') ? 'src/main.ts' : 'scripts/quickstart.ts';
    if (words[0] === 'run') {
      const daemon = Daemon.start({ configFile, port, env });
      disposed.defer(() => daemon.kill());
      await daemon.untilWatermark(0, soon.timeout);
      daemons.push(daemon);
      continue;
    }
    // All that was committed before is soon there.
    if (words[0] === quickStart.look) await expect.poll(() => ran(program, words), soon).toMatch(quickStart.result);
    if (words[0] === 'pipeline') for (const daemon of daemons) await daemon.stop();
    outputs.push(await ran(program, words));
  }
  expect(daemons.map(({ exit }) => exit)).toEqual([{ code: 0, signal: null }]);
  return outputs.join('\n');
}

describeNewestPostgres('the quick start', (major) => {
  let source: TestDatabase;
  beforeEach(async () => {
    source = await TestDatabase.create(major);
  });
  afterEach(() => source.close());

  describeShared('kafka', 'over Kafka', () => {
    describeShared('dynamodb', 'into DynamoDB', () => {
      test('does what the README says', async () => {
        const [, text = ''] = /^## Into DynamoDB, over Kafka\n(.*?)^## /ms.exec(readFileSync(join(root, 'README.md'), 'utf8')) ?? [];
        const env = {
          DYNAMODB_ENDPOINT: (await sharedService('dynamodb')).endpoint,
          AWS_ACCESS_KEY_ID: `k${randomBytes(6).toString('hex')}`,
          AWS_SECRET_ACCESS_KEY: 'local',
        };
        const result = /"cw_deleted".*"note":\{"S":"paid"\}|"paid".*"cw_deleted"/s;
        const all = await follow({ text, env, result, config: 'config/dynamodb.yaml', look: 'items' }, source);
        expect(all).toContain('Result: 0 errors');
        expect(all).toMatch(/"note":\{"S":"paid"\}.*"total":\{"N":"12.5"\}/);
        expect(all).toMatch(/main +streaming .* items +running/);
        expect(all).toContain(`dropped replication slot ${source.name}`);
      });
    });

    describeShared('spanner', 'into Spanner', () => {
      test('does what its page says', async () => {
        const text = readFileSync(join(root, 'docs/quickstart-spanner.md'), 'utf8');
        const env = { SPANNER_ENDPOINT: (await sharedService('spanner')).endpoint };
        const result = /^\{[^\n]*"paid"[^\n]*\}\n$/;
        const all = await follow({ text, env, result, config: 'config/spanner.yaml', look: 'rows' }, source);
        expect(all).toContain('Result: 0 errors');
        expect(all).toMatch(/"note":"paid".*"total":"12.5"/);
        expect(all).toMatch(/main +streaming .* rows +running/);
        expect(all).toContain(`dropped replication slot ${source.name}`);
      });
    });
  });
});
