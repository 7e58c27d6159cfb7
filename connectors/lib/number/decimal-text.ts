const DECIMAL = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;

/** `digits` × 10^`exponent`, without zeros at either end; no digits at all for 0. */
export type DecimalParts = { readonly sign: string; readonly digits: string; readonly exponent: number };

/** Null for what is not a decimal number, such as `NaN`. */
export function decimalParts(text: string): DecimalParts | null {
  const found = DECIMAL.exec(text);
  if (found === null) return null;
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = found;
  const all = (whole + fraction).replace(/^0+/, '');
  const digits = all.replace(/0+$/, '');
  if (digits === '') return { sign: '', digits: '', exponent: 0 };
  return { sign, digits, exponent: Number(exponent) - fraction.length + (all.length - digits.length) };
}

/**
 * The number's one spelling: no exponent, no zeros but those that are needed, no `-0`. Null for what is not a decimal number, such as
 * `NaN`.
 */
export function plainNumber(text: string): string | null {
  const parts = decimalParts(text);
  return parts === null ? null : plain(parts);
}

/** `number` with at least `scale` digits behind the point. */
export function padded(number: string, scale: number): string {
  if (scale <= 0) return number;
  const [whole = '', fraction = ''] = number.split('.');
  return `${whole}.${fraction.padEnd(scale, '0')}`;
}

function plain({ sign, digits, exponent }: DecimalParts): string {
  if (digits === '') return '0';
  if (exponent >= 0) return sign + digits + '0'.repeat(exponent);
  const point = digits.length + exponent;
  if (point > 0) return `${sign}${digits.slice(0, point)}.${digits.slice(point)}`;
  return `${sign}0.${'0'.repeat(-point)}${digits}`;
}
