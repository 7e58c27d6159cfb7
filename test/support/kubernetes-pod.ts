// What a pod finds in a cluster: a namespace, an account with rights, and the files of its token.
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';

export interface KubernetesAddress {
  readonly url: string;
  /** The PEM text of the authority that signed the server's certificate. */
  readonly ca: string;
  /** Of an account that may do everything. */
  readonly adminToken: string;
}

export interface KubernetesRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly body?: unknown;
  /** The administrator's without it. */
  readonly token?: string;
}

export interface KubernetesResponse {
  readonly status: number;
  readonly text: string;
}

export function kubernetesRequest({ url, ca, adminToken }: KubernetesAddress, asked: KubernetesRequest): Promise<KubernetesResponse> {
  const { promise, resolve, reject } = Promise.withResolvers<KubernetesResponse>();
  const headers = { authorization: `Bearer ${asked.token ?? adminToken}`, 'content-type': 'application/json' };
  const outgoing = request(`${url}${asked.path}`, { method: asked.method, ca, headers, agent: false }, (response) => {
    let text = '';
    response.setEncoding('utf8').on('data', (piece: string) => (text += piece));
    response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    response.on('error', reject);
  });
  outgoing.on('error', reject);
  outgoing.end(asked.body === undefined ? undefined : JSON.stringify(asked.body));
  return promise;
}

export interface PodRule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

export interface Pod {
  readonly namespace: string;
  readonly account: string;
  /** Valid for an hour. */
  readonly token: string;
  /** Holds `token`, `ca.crt` and `namespace`, as /var/run/secrets/kubernetes.io/serviceaccount does. */
  readonly folder: string;
  /** What a pod has in its environment. */
  readonly environment: { readonly KUBERNETES_SERVICE_HOST: string; readonly KUBERNETES_SERVICE_PORT: string };
}

/** A new namespace with one account that has these rights in it, and its files below `folder`. */
export async function createPod(cluster: KubernetesAddress, folder: string, rules: readonly PodRule[]): Promise<Pod> {
  const namespace = `t-${randomBytes(6).toString('hex')}`;
  const account = 'causeway';
  const metadata = { name: account };
  const make = async (path: string, body: unknown): Promise<KubernetesResponse> => {
    const response = await kubernetesRequest(cluster, { method: 'POST', path, body });
    if (response.status !== 201) throw new Error(`POST ${path}: ${response.status} ${response.text}`);
    return response;
  };
  const rights = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}`;
  await make('/api/v1/namespaces', { metadata: { name: namespace } });
  await make(`/api/v1/namespaces/${namespace}/serviceaccounts`, { metadata });
  await make(`${rights}/roles`, { metadata, rules });
  await make(`${rights}/rolebindings`, {
    metadata,
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: account },
    subjects: [{ kind: 'ServiceAccount', name: account, namespace }],
  });
  const issued = await make(`/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`, { spec: { expirationSeconds: 3600 } });
  const { token } = (JSON.parse(issued.text) as { status: { token: string } }).status;
  const files = join(folder, namespace);
  mkdirSync(files);
  for (const [name, text] of Object.entries({ token, 'ca.crt': cluster.ca, namespace })) writeFileSync(join(files, name), text);
  const { hostname, port } = new URL(cluster.url);
  return {
    namespace,
    account,
    token,
    folder: files,
    environment: { KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port === '' ? '443' : port },
  };
}
