import fc from 'fast-check';
import { expect, test } from 'vitest';
import { labelValue, objectName } from '../../../connectors/control-kubernetes/names.ts';

/** What the API server takes as the name of a Lease or a ConfigMap (IsDNS1123Subdomain). */
const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

const keys = fc.oneof(
  fc.string({ unit: fc.constantFrom('a', 'z', '/', '_', '.', '-', 'A', 'é', '0'), minLength: 1, maxLength: 20 }),
  fc.string({ unit: 'binary', minLength: 1, maxLength: 200 }),
);

/** The key that a short name stands for. */
function keyOf(name: string): string {
  const text = name.replace(/^s\./, '').replace(/\.|-|z[0-9a-f]{2}/g, (found) => {
    if (found === '.') return '/';
    return found === '-' ? '_' : String.fromCharCode(Number.parseInt(found.slice(1), 16));
  });
  return Buffer.from(text, 'latin1').toString('utf8');
}

test('the name of a row reads like its key', () => {
  expect(objectName('causeway', 'lease/orders')).toBe('causeway.lease.orders');
  expect(objectName('causeway', 'table/eu_orders/public.order_lines')).toBe('causeway.table.eu-orders.publicz2eorder-lines');
  expect(objectName('causeway', 'sink/p/_x')).toBe('causeway.sink.pz2fz5fx');
});

test('every name is one that the API server takes', () => {
  fc.assert(
    fc.property(keys, (key) => {
      const name = objectName('s', key);
      expect(name).toMatch(DNS_SUBDOMAIN);
      expect(name.length).toBeLessThanOrEqual(253);
    }),
  );
});

test('a name that is not too long leads back to its key, so that no two share one', () => {
  fc.assert(
    fc.property(keys, (key) => {
      const name = objectName('s', key);
      if (!name.includes('.zh') && key.isWellFormed()) expect(keyOf(name)).toBe(key);
    }),
  );
});

test('keys that are too long are told apart by a hash', () => {
  const long = 'table/p/'.padEnd(400, 'x');
  const [one, other] = [objectName('s', `${long}1`), objectName('s', `${long}2`)];
  expect(one).not.toBe(other);
  expect(one).toMatch(/^s\.table\.p\.x+\.zh[0-9a-f]{40}$/);
  const cut = objectName('s', 'a/'.repeat(200));
  expect(cut).toMatch(DNS_SUBDOMAIN);
});

test('what cannot be a label is none', () => {
  expect(['orders', 'eu_orders', 'a'.repeat(63)].map(labelValue)).toEqual(['orders', 'eu_orders', 'a'.repeat(63)]);
  expect(['', '_a', 'a_', 'é', 'a'.repeat(64)].map(labelValue)).toEqual([null, null, null, null, null]);
});
