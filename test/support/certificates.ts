// Certificates for tests of TLS, made anew in each run: none in the repository expires, and no program is needed.
// X.509 (RFC 5280) in DER, as far as OpenSSL wants it for a chain of two.
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto';
import { isIPv4 } from 'node:net';

export interface CertificateOptions {
  /** The common name; for a client certificate of Postgres, the role's name. */
  readonly name: string;
  /** DNS names and IPv4 addresses that `verify-full` may accept. */
  readonly hosts?: readonly string[];
  readonly notBefore?: Date;
  readonly notAfter?: Date;
}

/** PEM texts. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export interface Authority extends Certificate {
  issue(options: CertificateOptions): Certificate;
}

export function createAuthority(name: string): Authority {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const self: Signer = { name, publicKey, privateKey };
  return {
    ...certificate({ name }, { publicKey, privateKey }, self, true),
    issue: (options) => certificate(options, generateKeyPairSync('ec', { namedCurve: 'prime256v1' }), self, false),
  };
}

interface Keys {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}
interface Signer extends Keys {
  readonly name: string;
}

const dayMs = 86_400_000;

function certificate(options: CertificateOptions, keys: Keys, signer: Signer, isAuthority: boolean): Certificate {
  const notBefore = options.notBefore ?? new Date(Date.now() - dayMs);
  const notAfter = options.notAfter ?? new Date(Date.now() + 30 * dayMs);
  const algorithm = sequence(objectId('1.2.840.10045.4.3.2'));
  const toBeSigned = sequence(
    tagged(0xa0, integer(Buffer.from([2]))),
    integer(Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    algorithm,
    distinguishedName(signer.name),
    sequence(time(notBefore), time(notAfter)),
    distinguishedName(options.name),
    keys.publicKey.export({ type: 'spki', format: 'der' }),
    tagged(0xa3, sequence(...extensions(options.hosts ?? [], keys, signer, isAuthority))),
  );
  const signature = sign('sha256', toBeSigned, signer.privateKey);
  const der = sequence(toBeSigned, algorithm, bitString(signature));
  return { cert: new X509Certificate(der).toString(), key: keys.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string };
}

function extensions(hosts: readonly string[], keys: Keys, signer: Keys, isAuthority: boolean): Buffer[] {
  const critical = Buffer.from([0x01, 0x01, 0xff]);
  const extension = (id: string, value: Buffer, isCritical = false): Buffer =>
    sequence(objectId(id), ...(isCritical ? [critical] : []), tagged(0x04, value));
  const keyId = (key: KeyObject): Buffer =>
    createHash('sha1')
      .update(key.export({ type: 'spki', format: 'der' }))
      .digest();
  const names = hosts.map((host) =>
    isIPv4(host) ? tagged(0x87, Buffer.from(host.split('.').map(Number))) : tagged(0x82, Buffer.from(host)),
  );
  return [
    extension('2.5.29.19', sequence(...(isAuthority ? [critical] : [])), true),
    extension('2.5.29.14', tagged(0x04, keyId(keys.publicKey))),
    extension('2.5.29.35', sequence(tagged(0x80, keyId(signer.publicKey)))),
    ...(names.length > 0 ? [extension('2.5.29.17', sequence(...names))] : []),
  ];
}

function distinguishedName(name: string): Buffer {
  return sequence(tagged(0x31, sequence(objectId('2.5.4.3'), tagged(0x0c, Buffer.from(name)))));
}

/** UTCTime, which serves until 2049. */
function time(date: Date): Buffer {
  return tagged(0x17, Buffer.from(`${date.toISOString().slice(2, 19).replaceAll(/[-:T]/g, '')}Z`));
}

function bitString(bytes: Buffer): Buffer {
  return tagged(0x03, Buffer.concat([Buffer.from([0]), bytes]));
}

function integer(bytes: Buffer): Buffer {
  return tagged(0x02, bytes);
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tagged(0x30, Buffer.concat(parts));
}

function objectId(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const part of rest) {
    const groups = [part % 128];
    for (let left = Math.floor(part / 128); left > 0; left = Math.floor(left / 128)) groups.unshift((left % 128) + 128);
    bytes.push(...groups);
  }
  return tagged(0x06, Buffer.from(bytes));
}

function tagged(tag: number, content: Buffer): Buffer {
  const { length } = content;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}
