// Cloud Spanner's emulator, its databases in memory. It takes plain connections without credentials, and one read-write transaction at a time in a
// database: it aborts the others.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from './postgres-server.ts';
import { hasProgram } from './service-cache.ts';
import { ServiceProcess } from './service-process.ts';
import { tempFolder, type TempFolder } from './temp-folder.ts';

const programInSdk = join('bin', 'cloud_spanner_emulator', 'emulator_main');
const usualFolders = ['/usr/lib/google-cloud-sdk', '/usr/share/google-cloud-sdk', '/opt/google-cloud-sdk'];

/** The program of the Google Cloud SDK, wherever that is installed. Throws where it is not: it is not fetched. */
export function spannerEmulatorProgram(): string {
  const folders = [process.env['CLOUDSDK_ROOT_DIR'], ...usualFolders, sdkOfGcloud()];
  for (const folder of folders) {
    if (folder === undefined) continue;
    const program = join(folder, programInSdk);
    if (existsSync(program)) return program;
  }
  throw new Error('spanner: the emulator is not installed: gcloud components install cloud-spanner-emulator');
}

function sdkOfGcloud(): string | undefined {
  if (!hasProgram('gcloud')) return undefined;
  try {
    return execFileSync('gcloud', ['info', '--format=value(installation.sdk_root)'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return undefined;
  }
}

export class SpannerEmulator implements AsyncDisposable {
  readonly endpoint: string;
  readonly #process: ServiceProcess;
  readonly #folder: TempFolder;

  private constructor(port: number, abortsCommits: boolean) {
    this.endpoint = `http://127.0.0.1:${port}`;
    this.#folder = tempFolder();
    this.#process = new ServiceProcess({
      name: 'the Spanner emulator',
      command: spannerEmulatorProgram(),
      // Without the second one it splits the partitions of change streams all the time, in transactions of its own.
      args: [`--host_port=127.0.0.1:${port}`, '--enable_change_stream_churning=false', `--enable_fault_injection=${abortsCommits}`],
      cwd: this.#folder.path,
      isReady: (log) => log.includes('Server address:'),
    });
  }

  /** `abortsCommits`: one in 25 or so that it could have carried out, beside those that met another transaction. */
  static async create({ abortsCommits = false }: { readonly abortsCommits?: boolean } = {}): Promise<SpannerEmulator> {
    const server = new SpannerEmulator(await freePort(), abortsCommits);
    try {
      await server.#process.start();
      return server;
    } catch (error) {
      await server.dispose();
      throw error;
    }
  }

  /** It keeps its connections and answers nothing until `resume`. */
  pause(): void {
    this.#process.pause();
  }

  resume(): void {
    this.#process.resume();
  }

  async dispose(): Promise<void> {
    await this.#process.kill();
    this.#folder[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}
