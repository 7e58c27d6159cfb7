/** From which power of ten on Postgres prints an exponent: the digits that every number of the width keeps (float.h, FLT_DIG and DBL_DIG). */
const FIXED_BELOW = { 32: 6, 64: 15 } as const;
const FIXED_FROM = -4;
const FLOAT_DIGITS_MAX = 9;

/** The canonical text of a float: the shortest that reads back to the same bits, as Postgres prints it (`1e+20`, `1.5`, `-0`, `NaN`). */
export function floatText(value: number, bits: 32 | 64): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity';
  if (value === 0) return Object.is(value, -0) ? '-0' : '0';
  const [mantissa = '', power = '0'] = shortest(Math.abs(value), bits).split('e');
  const digits = mantissa.replace('.', '').replace(/0+$/, '');
  return (value < 0 ? '-' : '') + placed(digits === '' ? '0' : digits, Number(power), FIXED_BELOW[bits]);
}

function placed(digits: string, exponent: number, fixedBelow: number): string {
  if (exponent < FIXED_FROM || exponent >= fixedBelow) {
    const point = digits.length > 1 ? `${digits.slice(0, 1)}.${digits.slice(1)}` : digits;
    return `${point}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
  }
  if (exponent < 0) return `0.${'0'.repeat(-exponent - 1)}${digits}`;
  if (digits.length <= exponent + 1) return digits.padEnd(exponent + 1, '0');
  return `${digits.slice(0, exponent + 1)}.${digits.slice(exponent + 1)}`;
}

function shortest(value: number, bits: 32 | 64): string {
  if (bits === 64) return value.toExponential();
  for (let digits = 0; digits < FLOAT_DIGITS_MAX; digits += 1) {
    const printed = value.toExponential(digits);
    if (Math.fround(Number(printed)) === value) return printed;
  }
  return value.toExponential(FLOAT_DIGITS_MAX);
}
