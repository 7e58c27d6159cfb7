// The Kubernetes API that the tests of it stand on.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { KubernetesApi } from '../support/kubernetes-api.ts';
import { createPod, type KubernetesAddress, kubernetesRequest } from '../support/kubernetes-pod.ts';
import { describeOwn, describeShared, sharedService } from '../support/services.ts';
import { tempFolder } from '../support/temp-folder.ts';

const rules = [{ apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['get', 'create', 'update'] }];
const leases = (namespace: string): string => `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;

interface Lease {
  readonly metadata: { readonly resourceVersion: string };
}

describeShared('kubernetes', 'the shared Kubernetes API', () => {
  test('gives an account its rights and no others, and refuses a lease that changed meanwhile', async () => {
    const shared = await sharedService('kubernetes');
    using folder = tempFolder();
    const pod = await createPod(shared, folder.path, rules);
    const token = readFileSync(join(pod.folder, 'token'), 'utf8');
    const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = pod.environment;
    const cluster: KubernetesAddress = { ...shared, url: `https://${host}:${port}`, ca: readFileSync(join(pod.folder, 'ca.crt'), 'utf8') };

    const made = await kubernetesRequest(cluster, {
      method: 'POST',
      path: leases(pod.namespace),
      body: { metadata: { name: 'one' }, spec: { holderIdentity: 'a' } },
      token,
    });
    expect(made.status).toBe(201);
    const lease = JSON.parse(made.text) as Lease;
    const update = (holderIdentity: string): Promise<{ readonly status: number }> =>
      kubernetesRequest(cluster, {
        method: 'PUT',
        path: `${leases(pod.namespace)}/one`,
        body: { metadata: { name: 'one', resourceVersion: lease.metadata.resourceVersion }, spec: { holderIdentity } },
        token,
      });
    expect((await update('b')).status).toBe(200);
    expect((await update('c')).status).toBe(409);

    expect((await kubernetesRequest(cluster, { method: 'GET', path: leases('default'), token })).status).toBe(403);
    expect((await kubernetesRequest(cluster, { method: 'GET', path: leases(pod.namespace), token: 'nobody' })).status).toBe(401);
  });
});

describeOwn('kubernetes', 'a Kubernetes API of its own', () => {
  test('survives a kill with what it held, and knows the tokens from before', async () => {
    await using server = await KubernetesApi.create();
    using folder = tempFolder();
    const { token, namespace } = await createPod(server.address, folder.path, rules);
    const path = leases(namespace);
    await kubernetesRequest(server.address, { method: 'POST', path, body: { metadata: { name: 'kept' } }, token });
    await server.kill();
    await expect(kubernetesRequest(server.address, { method: 'GET', path, token })).rejects.toThrow('ECONNREFUSED');
    await server.start();
    expect((await kubernetesRequest(server.address, { method: 'GET', path: `${path}/kept`, token })).status).toBe(200);
  });
});
