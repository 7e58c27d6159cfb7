// Numbers of DynamoDB: up to 38 digits, magnitudes from 1E-130 to 9.9999999999999999999999999999999999999E+125, and 0
// ("Supported data types and naming rules in Amazon DynamoDB", Number).

const DECIMAL = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;
const DIGITS_MAX = 38;
const EXPONENT_MIN = -130;
const EXPONENT_MAX = 125;

/**
 * The number's one spelling: no exponent, no zeros but those that are needed, no `-0`. Null for what is not a decimal number, such as
 * `NaN`.
 */
export function plainNumber(text: string): string | null {
  const parts = partsOf(text);
  return parts === null ? null : plain(parts);
}

/** True where the number keeps all of its digits in an attribute of the type N. */
export function fitsNumber(text: string): boolean {
  const parts = partsOf(text);
  if (parts === null) return false;
  if (parts.digits === '') return true;
  const first = parts.exponent + parts.digits.length - 1;
  return parts.digits.length <= DIGITS_MAX && first >= EXPONENT_MIN && first <= EXPONENT_MAX;
}

/** `number` with at least `scale` digits behind the point. */
export function padded(number: string, scale: number): string {
  if (scale <= 0) return number;
  const [whole = '', fraction = ''] = number.split('.');
  return `${whole}.${fraction.padEnd(scale, '0')}`;
}

/** `digits` × 10^`exponent`, without zeros at either end; no digits at all for 0. */
type Parts = { readonly sign: string; readonly digits: string; readonly exponent: number };

function partsOf(text: string): Parts | null {
  const found = DECIMAL.exec(text);
  if (found === null) return null;
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = found;
  const all = (whole + fraction).replace(/^0+/, '');
  const digits = all.replace(/0+$/, '');
  if (digits === '') return { sign: '', digits: '', exponent: 0 };
  return { sign, digits, exponent: Number(exponent) - fraction.length + (all.length - digits.length) };
}

function plain({ sign, digits, exponent }: Parts): string {
  if (digits === '') return '0';
  if (exponent >= 0) return sign + digits + '0'.repeat(exponent);
  const point = digits.length + exponent;
  if (point > 0) return `${sign}${digits.slice(0, point)}.${digits.slice(point)}`;
  return `${sign}0.${'0'.repeat(-point)}${digits}`;
}
