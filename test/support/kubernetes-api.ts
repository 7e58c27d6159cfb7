// A real Kubernetes API server of one's own, on etcd: everything that needs no kubelet and no controller. Since nothing runs that would
// remove what a namespace holds, a test takes a namespace of its own and leaves it.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createAuthority } from './certificates.ts';
import { type KubernetesAddress, kubernetesRequest } from './kubernetes-pod.ts';
import { freePort } from './postgres-server.ts';
import { fetchedService } from './service-cache.ts';
import { ServiceProcess } from './service-process.ts';
import { tempFolder, type TempFolder } from './temp-folder.ts';

export class KubernetesApi implements AsyncDisposable {
  readonly address: KubernetesAddress;
  readonly #etcd: ServiceProcess;
  readonly #apiServer: ServiceProcess;
  readonly #folder: TempFolder;

  private constructor(folder: TempFolder, ports: { readonly api: number; readonly etcd: number; readonly peer: number }) {
    const authority = createAuthority('causeway test authority of kubernetes');
    this.#folder = folder;
    this.address = { url: `https://127.0.0.1:${ports.api}`, ca: authority.cert, adminToken: randomBytes(16).toString('hex') };
    const etcdUrl = `http://127.0.0.1:${ports.etcd}`;
    const peerUrl = `http://127.0.0.1:${ports.peer}`;
    this.#etcd = new ServiceProcess({
      name: 'etcd',
      command: 'etcd',
      args: [
        ...['--data-dir', join(folder.path, 'etcd')],
        ...['--listen-client-urls', etcdUrl, '--advertise-client-urls', etcdUrl],
        ...['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl, '--initial-cluster', `default=${peerUrl}`],
      ],
      cwd: folder.path,
      isReady: (log) => log.includes('ready to serve client requests') || log.includes('serving insecure client requests'),
    });
    const file = (name: string, text: string): string => {
      const path = join(folder.path, name);
      writeFileSync(path, text, { mode: 0o600 });
      return path;
    };
    const serving = authority.issue({ name: 'kube-apiserver', hosts: ['127.0.0.1', 'localhost'] });
    const { privateKey } = generateKeyPairSync('rsa', {
      modulusLength: 2048,
      privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    });
    const accountKey = file('service-accounts.key', privateKey);
    this.#apiServer = new ServiceProcess({
      name: 'kube-apiserver',
      command: join(fetchedService('kubernetes'), 'kube-apiserver'),
      args: [
        `--etcd-servers=${etcdUrl}`,
        ...['--bind-address=127.0.0.1', `--secure-port=${ports.api}`, `--cert-dir=${folder.path}`],
        `--tls-cert-file=${file('serving.crt', serving.cert)}`,
        `--tls-private-key-file=${file('serving.key', serving.key)}`,
        '--service-account-issuer=https://kubernetes.default.svc',
        ...[`--service-account-key-file=${accountKey}`, `--service-account-signing-key-file=${accountKey}`],
        `--token-auth-file=${file('tokens.csv', `${this.address.adminToken},admin,admin,system:masters\n`)}`,
        '--authorization-mode=RBAC',
        '--service-cluster-ip-range=10.0.0.0/24',
        // It would wait for a controller that makes an account in each namespace.
        '--disable-admission-plugins=ServiceAccount',
      ],
      cwd: folder.path,
      isReady: () => this.#isReady(),
    });
  }

  static async create(): Promise<KubernetesApi> {
    const [api, etcd, peer] = await Promise.all([freePort(), freePort(), freePort()]);
    const folder = tempFolder();
    mkdirSync(join(folder.path, 'etcd'), { mode: 0o700 });
    const server = new KubernetesApi(folder, { api, etcd, peer });
    try {
      await server.#etcd.start();
      await server.start();
      return server;
    } catch (error) {
      await server.dispose();
      throw error;
    }
  }

  /** Starts it again after `stop` or `kill`, with what it held; etcd runs on meanwhile. */
  async start(): Promise<void> {
    await this.#apiServer.start();
  }

  async stop(): Promise<void> {
    await this.#apiServer.stop();
  }

  async kill(): Promise<void> {
    await this.#apiServer.kill();
  }

  /** It keeps its connections and answers nothing until `resume`. */
  pause(): void {
    this.#apiServer.pause();
  }

  resume(): void {
    this.#apiServer.resume();
  }

  async dispose(): Promise<void> {
    await this.#apiServer.kill();
    await this.#etcd.kill();
    this.#folder[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  async #isReady(): Promise<boolean> {
    try {
      return (await kubernetesRequest(this.address, { method: 'GET', path: '/readyz' })).status === 200;
    } catch {
      return false;
    }
  }
}
