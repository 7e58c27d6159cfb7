import type { ControlKey, ControlRow, RowVersion } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import type { WallMs } from '#core/position.ts';
import { pack, unpack } from '../lib/control/pack.ts';
import { leaseSpec } from './lease-spec.ts';
import { labelValue, objectName } from './names.ts';

/*
 * A row `lease/…` is a Lease, with its JSON in an annotation beside the fields that people look at. Every other row is a ConfigMap
 * with its JSON in data.value, or compressed in binaryData.packed.
 */

const FORMAT_VERSION = 1;
const LEASES = 'lease/';

const annotations = { key: 'causeway/key', version: 'causeway/version', format: 'causeway/format', value: 'causeway/value' } as const;
const labels = { store: 'causeway/store', kind: 'causeway/kind', pipeline: 'causeway/pipeline' } as const;

/** All data of a ConfigMap together, names included. */
const CONFIG_MAP_BYTES_MAX = 2 ** 20 - 1_024;
/** All annotations of an object together have 256 KiB. */
const LEASE_BYTES_MAX = 240 * 1024;

export type Collection = 'leases' | 'configmaps';

export type ApiObject = {
  readonly metadata: {
    readonly uid?: string;
    readonly resourceVersion?: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly data?: Readonly<Record<string, string>>;
  readonly binaryData?: Readonly<Record<string, string>>;
};

/** A row to be written: its key, value and JSON, the random part of its new version, and the time for people. */
export type Write = {
  readonly store: string;
  readonly key: ControlKey;
  readonly value: unknown;
  readonly text: string;
  readonly chance: string;
  readonly now: WallMs;
};

/** What stands behind a RowVersion. The server knows the first two, which come again where etcd was restored; the last does not. */
export type KnownVersion = { readonly uid: string; readonly resourceVersion: string; readonly chance: string };

export function collectionOf(key: string): Collection {
  return key.startsWith(LEASES) ? 'leases' : 'configmaps';
}

/** Which objects can have a key that starts with the prefix. */
export function collectionsBelow(prefix: string): readonly Collection[] {
  if (prefix.startsWith(LEASES)) return ['leases'];
  return LEASES.startsWith(prefix) ? ['configmaps', 'leases'] : ['configmaps'];
}

export function collectionPath(namespace: string, collection: Collection): string {
  const group = collection === 'leases' ? '/apis/coordination.k8s.io/v1' : '/api/v1';
  return `${group}/namespaces/${encodeURIComponent(namespace)}/${collection}`;
}

/** Labels of the objects whose keys start with the prefix; those of a key, where the prefix is one. */
function labelsOf(store: string, prefix: string): Readonly<Record<string, string>> {
  const [kind, pipeline] = prefix.split('/').slice(0, -1);
  const kindLabel = labelValue(kind ?? '');
  const pipelineLabel = labelValue(pipeline ?? '');
  return {
    [labels.store]: store,
    ...(kindLabel === null ? {} : { [labels.kind]: kindLabel }),
    ...(pipelineLabel === null ? {} : { [labels.pipeline]: pipelineLabel }),
  };
}

export function selectorOf(store: string, prefix: string): string {
  return Object.entries(labelsOf(store, prefix))
    .map(([label, value]) => `${label}=${value}`)
    .join(',');
}

/** The object of a row that is not there yet. */
export async function objectOf(write: Write): Promise<unknown> {
  const { store, key, chance } = write;
  const content = await contentOf(write);
  const lease = collectionOf(key) === 'leases';
  return {
    ...(lease ? { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease' } : { apiVersion: 'v1', kind: 'ConfigMap' }),
    metadata: {
      name: objectName(store, key),
      labels: { 'app.kubernetes.io/managed-by': 'causeway', ...labelsOf(store, `${key}/`) },
      annotations: {
        [annotations.key]: key,
        [annotations.format]: String(FORMAT_VERSION),
        [annotations.version]: chance,
        ...(lease ? { [annotations.value]: content.text } : {}),
      },
    },
    ...(lease ? { spec: leaseSpec(write.value, write.now) ?? {} } : { data: content.data, binaryData: content.binaryData }),
  };
}

type Operation = { readonly op: 'test' | 'add' | 'replace'; readonly path: string; readonly value: unknown };

/** A JSON patch, which the server applies whole or not at all: `expected` is tested in the same step. */
export async function patchOf(write: Write, expected: KnownVersion): Promise<readonly Operation[]> {
  const content = await contentOf(write);
  const spec = leaseSpec(write.value, write.now) ?? {};
  return [
    { op: 'test', path: '/metadata/uid', value: expected.uid },
    { op: 'test', path: '/metadata/resourceVersion', value: expected.resourceVersion },
    { op: 'test', path: annotationPath(annotations.version), value: expected.chance },
    { op: 'replace', path: annotationPath(annotations.version), value: write.chance },
    ...(collectionOf(write.key) === 'leases'
      ? [
          { op: 'replace' as const, path: annotationPath(annotations.value), value: content.text },
          ...Object.entries(spec).map(([field, value]) => ({ op: 'add' as const, path: `/spec/${field}`, value })),
        ]
      : [
          { op: 'add' as const, path: '/data', value: content.data },
          { op: 'add' as const, path: '/binaryData', value: content.binaryData },
        ]),
  ];
}

/** A slash inside a name of a JSON pointer (RFC 6901). */
function annotationPath(name: string): string {
  return `/metadata/annotations/${name.replace('/', '~1')}`;
}

async function contentOf({ key, text }: Write): Promise<{
  readonly text: string;
  readonly data: Readonly<Record<string, string>>;
  readonly binaryData: Readonly<Record<string, string>>;
}> {
  const refuse = (bytes: number, max: number, what: string): void => {
    if (bytes > max) throw new CausewayError('control_row_too_large', `the row ${key} has ${bytes} bytes, and ${what} takes ${max}`);
  };
  if (collectionOf(key) === 'leases') {
    refuse(Buffer.byteLength(text), LEASE_BYTES_MAX, 'an annotation of a Lease');
    return { text, data: {}, binaryData: {} };
  }
  const packed = await pack(text);
  refuse(packed?.byteLength ?? Buffer.byteLength(text), CONFIG_MAP_BYTES_MAX, 'a ConfigMap');
  return packed === null
    ? { text, data: { value: text }, binaryData: {} }
    : { text, data: {}, binaryData: { packed: packed.toString('base64') } };
}

/** `where` is the store, for people. Errors: `control_foreign`, `control_damaged`. */
export async function rowOf(object: ApiObject, where: string): Promise<ControlRow> {
  const { uid = '', resourceVersion = '', annotations: found = {} } = object.metadata;
  const { [annotations.key]: key, [annotations.format]: format, [annotations.version]: chance } = found;
  if (key === undefined || format === undefined || chance === undefined) {
    throw new CausewayError('control_foreign', `${where} holds an object under the name of a row, which is no row of Causeway`);
  }
  if (format !== String(FORMAT_VERSION)) {
    const other = Number(format) > FORMAT_VERSION ? 'a newer' : 'an older';
    throw new CausewayError(
      'control_foreign',
      `${where} holds rows of format version ${format}, of ${other} release; this one knows ${FORMAT_VERSION}`,
    );
  }
  try {
    const packed = object.binaryData?.['packed'];
    const text = packed === undefined ? (found[annotations.value] ?? object.data?.['value']) : await unpack(Buffer.from(packed, 'base64'));
    const version = versionText({ uid, resourceVersion, chance });
    return { key: key as ControlKey, value: JSON.parse(text ?? '') as unknown, version };
  } catch {
    throw new CausewayError('control_damaged', `${where} holds a row that is not JSON: ${key}`);
  }
}

function versionText({ uid, resourceVersion, chance }: KnownVersion): RowVersion {
  return `${uid}/${resourceVersion}/${chance}` as RowVersion;
}

/** Null for what never was a version of ours: no row can have it. */
export function knownVersion(version: RowVersion): KnownVersion | null {
  const [uid, resourceVersion, chance, ...more] = version.split('/');
  if (uid === undefined || resourceVersion === undefined || chance === undefined || more.length > 0) return null;
  return { uid, resourceVersion, chance };
}
