import type { ControlKey, ControlRow, ControlStore, RowVersion, Swap } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import { randomName } from '#core/random-name.ts';
import type { Runtime } from '#core/runtime.ts';
import { callMsFor, jsonText, withinTime } from '../lib/control/call.ts';
import { ApiServer, type Answer, type Call } from './api.ts';
import type { Config } from './config.ts';
import { answerError, isStatus } from './errors.ts';
import { objectName } from './names.ts';
import {
  collectionOf,
  collectionPath,
  collectionsBelow,
  knownVersion,
  objectOf,
  patchOf,
  rowOf,
  selectorOf,
  type ApiObject,
  type Collection,
  type Write,
} from './objects.ts';

const PAGE_OBJECTS = '50';

type Page = { readonly items: readonly ApiObject[]; readonly metadata: { readonly continue?: string } };

/** One request within one call. */
type Send = (call: Call) => Promise<Answer>;

/** Rows as objects of a Kubernetes cluster. A swap is one POST or one PATCH; reads name no version, which makes them consistent. */
export class KubernetesControlStore implements ControlStore {
  readonly #server: ApiServer;
  readonly #store: string;
  readonly #runtime: Runtime;
  readonly #callMs: number;
  #closed = false;

  constructor(of: { readonly config: Config; readonly leaseTtlMs: number; readonly runtime: Runtime }) {
    this.#server = new ApiServer(of.config);
    this.#store = of.config.store;
    this.#runtime = of.runtime;
    this.#callMs = callMsFor(of.leaseTtlMs);
  }

  get(key: ControlKey, signal: AbortSignal): Promise<ControlRow | null> {
    return this.#use(signal, (send, namespace) => this.#row(send, namespace, key));
  }

  async swap(
    write: { readonly key: ControlKey; readonly value: unknown; readonly expected: RowVersion | null },
    signal: AbortSignal,
  ): Promise<Swap> {
    signal.throwIfAborted();
    const { key, value, expected } = write;
    const text = jsonText(value);
    const chance = randomName(this.#runtime);
    const made: Write = { store: this.#store, key, value, text, chance, now: this.#runtime.wallMs() };
    return await this.#use(signal, (send, namespace) =>
      expected === null ? this.#create(send, namespace, made) : this.#replace(send, namespace, { ...made, expected }),
    );
  }

  remove(key: ControlKey, expected: RowVersion, signal: AbortSignal): Promise<Swap | { readonly tag: 'removed' }> {
    return this.#use(signal, async (send, namespace) => {
      // What a delete can be given as its condition may come again where etcd was restored, so the row is looked at first.
      const current = await this.#row(send, namespace, key);
      const known = knownVersion(expected);
      if (known === null || current?.version !== expected) return { tag: 'conflict' as const, current };
      const { uid, resourceVersion } = known;
      const body = { kind: 'DeleteOptions', apiVersion: 'v1', preconditions: { uid, resourceVersion } };
      const answer = await send({ method: 'DELETE', path: this.#path(namespace, key), body });
      if (answer.status === 200 || answer.status === 202) return { tag: 'removed' as const };
      if (answer.status !== 409 && !isAbsent(answer)) throw answerError(answer.status, answer.body, this.#server.what);
      return { tag: 'conflict' as const, current: await this.#row(send, namespace, key) };
    });
  }

  async list(prefix: string, signal: AbortSignal): Promise<readonly ControlRow[]> {
    const rows: ControlRow[] = [];
    for (const collection of collectionsBelow(prefix)) {
      let from = '';
      do {
        const page = await this.#use(signal, (send, namespace) => this.#page(send, { namespace, collection, prefix, from }));
        for (const object of page.items) rows.push(await rowOf(object, this.#server.what));
        from = page.metadata.continue ?? '';
      } while (from !== '');
    }
    return rows.filter(({ key }) => key.startsWith(prefix)).sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#server[Symbol.dispose]();
    return Promise.resolve();
  }

  async #create(send: Send, namespace: string, write: Write): Promise<Swap> {
    const path = collectionPath(namespace, collectionOf(write.key));
    const answer = await send({ method: 'POST', path, body: await objectOf(write) });
    if (answer.status === 201) return await this.#stored(answer);
    if (answer.status !== 409) throw answerError(answer.status, answer.body, this.#server.what);
    return { tag: 'conflict', current: await this.#row(send, namespace, write.key) };
  }

  async #replace(send: Send, namespace: string, write: Write & { readonly expected: RowVersion }): Promise<Swap> {
    const known = knownVersion(write.expected);
    if (known === null) return { tag: 'conflict', current: await this.#row(send, namespace, write.key) };
    const answer = await send({ method: 'PATCH', path: this.#path(namespace, write.key), body: await patchOf(write, known) });
    if (answer.status === 200) return await this.#stored(answer);
    if (answer.status !== 409 && answer.status !== 422 && !isAbsent(answer))
      throw answerError(answer.status, answer.body, this.#server.what);
    const current = await this.#row(send, namespace, write.key);
    // 422 stands for a test that failed, and for an object that is not valid.
    if (current?.version === write.expected) throw answerError(answer.status, answer.body, this.#server.what);
    return { tag: 'conflict', current };
  }

  async #stored(answer: Answer): Promise<Swap> {
    const { version } = await rowOf(answer.body as ApiObject, this.#server.what);
    return { tag: 'stored', version };
  }

  async #row(send: Send, namespace: string, key: ControlKey): Promise<ControlRow | null> {
    const answer = await send({ method: 'GET', path: this.#path(namespace, key) });
    if (isAbsent(answer)) return null;
    if (answer.status !== 200 || answer.body === null) throw answerError(answer.status, answer.body, this.#server.what);
    const row = await rowOf(answer.body as ApiObject, this.#server.what);
    if (row.key === key) return row;
    throw new CausewayError('control_foreign', `${this.#server.what} holds another row under the name of ${key}`);
  }

  async #page(
    send: Send,
    of: { readonly namespace: string; readonly collection: Collection; readonly prefix: string; readonly from: string },
  ): Promise<Page> {
    const query = {
      labelSelector: selectorOf(this.#store, of.prefix),
      limit: PAGE_OBJECTS,
      ...(of.from === '' ? {} : { continue: of.from }),
    };
    const answer = await send({ method: 'GET', path: collectionPath(of.namespace, of.collection), query });
    if (answer.status !== 200 || answer.body === null) throw answerError(answer.status, answer.body, this.#server.what);
    return answer.body as Page;
  }

  #path(namespace: string, key: ControlKey): string {
    return `${collectionPath(namespace, collectionOf(key))}/${objectName(this.#store, key)}`;
  }

  async #use<T>(signal: AbortSignal, work: (send: Send, namespace: string) => Promise<T>): Promise<T> {
    if (this.#closed) throw new CausewayError('control_unavailable', 'the control store is closed');
    const of = { runtime: this.#runtime, callMs: this.#callMs, what: this.#server.what };
    return await withinTime(of, signal, async (call) => {
      const namespace = await this.#server.namespace(call);
      return await work((request) => this.#server.send(request, call), namespace);
    });
  }
}

/** The server is the right one and says that there is no such object; nothing else counts as a row that is not there. */
function isAbsent({ status, body }: Answer): boolean {
  return status === 404 && isStatus(body) && body.reason === 'NotFound' && body.details?.name !== undefined;
}
