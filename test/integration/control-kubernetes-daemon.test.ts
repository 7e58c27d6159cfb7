// Two daemons of one pipeline whose leases are in a Kubernetes cluster: what kubectl would show, and who captures.
import { readFileSync, writeFileSync } from 'node:fs';
import { expect, inject, test } from 'vitest';
import { DaemonGround, soon } from '../support/daemon-ground.ts';
import { Daemon } from '../support/daemon.ts';
import { createPod, kubernetesRequest } from '../support/kubernetes-pod.ts';
import { freePort } from '../support/postgres-server.ts';
import { describeNewestPostgres } from '../support/postgres.ts';
import { sharedService } from '../support/services.ts';
import { tempFolder } from '../support/temp-folder.ts';

const rules = [
  { apiGroups: ['', 'coordination.k8s.io'], resources: ['leases', 'configmaps'], verbs: ['get', 'list', 'create', 'patch', 'delete'] },
];

describeNewestPostgres('daemons over a control store in Kubernetes', (major) => {
  test.skipIf(!inject('services').shared.includes('kubernetes'))('one captures, the other takes over when it is killed', async () => {
    using folder = tempFolder();
    const cluster = await sharedService('kubernetes');
    const pod = await createPod(cluster, folder.path, rules);
    await using ground = await DaemonGround.create(major, {
      control: () => `{ kind: kubernetes, server: '${cluster.url}', serviceAccount: '${pod.folder}' }`,
    });
    await ground.source.query('CREATE TABLE orders (id int8 PRIMARY KEY)');
    const checked = await ground.causeway('check', '--only', 'control');
    expect([checked.code, checked.out]).toEqual([0, expect.stringMatching(/√ the control store answers, and compares before it swaps/)]);
    const lease = async (): Promise<Readonly<Record<string, unknown>>> => {
      const path = `/apis/coordination.k8s.io/v1/namespaces/${pod.namespace}/leases/causeway.lease.main`;
      const { text } = await kubernetesRequest(cluster, { method: 'GET', path });
      return (JSON.parse(text) as { readonly spec: Readonly<Record<string, unknown>> }).spec;
    };

    await ground.start();
    expect(await lease()).toMatchObject({
      holderIdentity: expect.stringContaining(`:${ground.daemon.pid}`) as string,
      leaseTransitions: 1,
    });
    const port = await freePort();
    const file = `${folder.path}/second.yaml`;
    writeFileSync(file, readFileSync(ground.file, 'utf8').replaceAll(`:${ground.port}'`, `:${port}'`));
    const second = Daemon.start({ configFile: file, port });
    try {
      await expect.poll(() => second.log.some((line) => line.includes('standby: another process captures')), soon).toBe(true);
      await ground.source.query('INSERT INTO orders VALUES (1)');
      await expect.poll(() => ground.sink.query('SELECT id::int FROM orders'), soon).toEqual([{ id: 1 }]);
      await ground.daemon.kill();
      await ground.source.query('INSERT INTO orders VALUES (2)');
      await expect.poll(() => ground.sink.query('SELECT id::int FROM orders ORDER BY id'), soon).toEqual([{ id: 1 }, { id: 2 }]);
      expect(await lease()).toMatchObject({ holderIdentity: expect.stringContaining(`:${second.pid}`) as string, leaseTransitions: 2 });
      const listed = await ground.causeway('lease', 'list');
      expect(listed.out).toContain(`:${second.pid}`);
      await second.stop();
      expect((await lease())['holderIdentity']).toBeUndefined();
    } finally {
      await second.kill();
    }
  });
});
