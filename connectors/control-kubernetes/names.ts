import { createHash } from 'node:crypto';

/** A DNS subdomain, which the names of Leases and ConfigMaps have to be. */
const NAME_LENGTH_MAX = 253;
const HASH_LENGTH = 40;

/**
 * The name of a row's object: `lease/orders` → `causeway.lease.orders`. What a DNS name has no place for is `z` and the two hex
 * digits of each byte, so that no two keys share a name; a key that is too long ends in a hash behind `zh`.
 */
export function objectName(store: string, key: string): string {
  const encoded = encode(key);
  const name = `${store}.${encoded}`;
  if (name.length <= NAME_LENGTH_MAX) return name;
  const hash = `.zh${createHash('sha256').update(key).digest('hex').slice(0, HASH_LENGTH)}`;
  return name.slice(0, NAME_LENGTH_MAX - hash.length).replace(/[.-]+$/, '') + hash;
}

function encode(key: string): string {
  const bytes = Buffer.from(key, 'utf8').toString('latin1');
  return bytes.replace(/[^a-y0-9]/g, (character, at: number) => {
    // A dot or a dash may stand only between letters and digits.
    const between = /[^/_]/.test(bytes.charAt(at - 1)) && /[^/_]/.test(bytes.charAt(at + 1));
    if (between && character === '/') return '.';
    if (between && character === '_') return '-';
    return `z${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
}

/** A label's value; null where the text cannot be one. */
export function labelValue(text: string): string | null {
  return /^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/.test(text) ? text : null;
}
