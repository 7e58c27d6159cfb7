// DynamoDB Local, its tables in memory, or in a file where it is to be killed and started again. It takes any credentials, and keeps the tables of each access key and region apart.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from './postgres-server.ts';
import { fetchedService } from './service-cache.ts';
import { ServiceProcess } from './service-process.ts';
import { tempFolder, type TempFolder } from './temp-folder.ts';

const sharedMemory = '/dev/shm';

export class DynamoDbLocal implements AsyncDisposable {
  readonly endpoint: string;
  readonly #process: ServiceProcess;
  readonly #folder: TempFolder;

  private constructor(port: number, keepsTables: boolean) {
    const jars = fetchedService('dynamodb');
    this.endpoint = `http://127.0.0.1:${port}`;
    // It commits each write by itself. A file in memory is as good for a process that dies, and some ten times as fast.
    this.#folder = keepsTables && existsSync(sharedMemory) ? tempFolder(sharedMemory) : tempFolder();
    const tables = keepsTables ? ['-dbPath', this.#folder.path] : ['-inMemory'];
    this.#process = new ServiceProcess({
      name: 'DynamoDB Local',
      command: 'java',
      args: [
        ...['-Xms64m', '-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-XX:-UsePerfData'],
        // Beside the jars lie the libraries of SQLite.
        ...[`-Djava.library.path=${jars}`, '-classpath', join(jars, '*')],
        ...['com.amazonaws.services.dynamodbv2.local.main.ServerRunner', ...tables, '-disableTelemetry', '-port', String(port)],
      ],
      cwd: this.#folder.path,
      isReady: () => answers(this.endpoint),
    });
  }

  static async create({ keepsTables = false }: { readonly keepsTables?: boolean } = {}): Promise<DynamoDbLocal> {
    const server = new DynamoDbLocal(await freePort(), keepsTables);
    try {
      await server.#process.start();
      return server;
    } catch (error) {
      await server.dispose();
      throw error;
    }
  }

  /** What was acknowledged is there again after `start`, if it keeps its tables. */
  async kill(): Promise<void> {
    await this.#process.kill();
  }

  async start(): Promise<void> {
    await this.#process.start();
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

/** To a request that is none, it says so. */
async function answers(endpoint: string): Promise<boolean> {
  try {
    return (await fetch(endpoint)).status === 400;
  } catch {
    return false;
  }
}
