import { decimalParts } from '../lib/number/decimal-text.ts';

// Numbers of DynamoDB: up to 38 digits, magnitudes from 1E-130 to 9.9999999999999999999999999999999999999E+125, and 0
// ("Supported data types and naming rules in Amazon DynamoDB", Number).

const DIGITS_MAX = 38;
const EXPONENT_MIN = -130;
const EXPONENT_MAX = 125;

/** True where the number keeps all of its digits in an attribute of the type N. */
export function fitsNumber(text: string): boolean {
  const parts = decimalParts(text);
  if (parts === null) return false;
  if (parts.digits === '') return true;
  const first = parts.exponent + parts.digits.length - 1;
  return parts.digits.length <= DIGITS_MAX && first >= EXPONENT_MIN && first <= EXPONENT_MAX;
}
