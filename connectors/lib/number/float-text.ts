/** From which power of ten on Postgres prints an exponent: the digits that every number of the width keeps (float.h, FLT_DIG and DBL_DIG). */
const FIXED_BELOW = { 32: 6, 64: 15 } as const;
const FIXED_FROM = -4;
const FLOAT_DIGITS_MAX = 9;
/** 54 bits hold no higher power of five, and a text with more zeros at its end is no number half-way between two doubles. */
const POWER_OF_FIVE_MAX = 23;
const DOUBLE_DIGITS_MAX = 17;

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
  if (bits === 64) return shortestDouble(value);
  for (let digits = 0; digits < FLOAT_DIGITS_MAX; digits += 1) {
    const printed = value.toExponential(digits);
    if (isNearest(Number(printed), value)) return evenOfTwo(printed, { value, digits });
  }
  return value.toExponential(FLOAT_DIGITS_MAX);
}

/** Half-way between two texts that both read back to the value, JavaScript takes the greater one and Postgres the even one. */
function evenOfTwo(printed: string, { value, digits }: { readonly value: number; readonly digits: number }): string {
  const longer = value.toExponential(digits + 1);
  const isHalfWay = longer.includes('5e') && Number(longer) === value;
  const [mantissa = '', power = ''] = printed.split('e');
  const last = Number(mantissa.at(-1));
  if (!isHalfWay || last % 2 === 0) return printed;
  const even = `${mantissa.slice(0, -1)}${last - 1}e${power}`;
  return isNearest(Number(even), value) ? even : printed;
}

const bitsOfFloat = new DataView(new ArrayBuffer(4));
const bitsOfDouble = new DataView(new ArrayBuffer(8));

/** True for what reads back to the float, but not by a tie: half-way between two floats Postgres takes a longer text (ryu_common.h). */
function isNearest(printed: number, value: number): boolean {
  if (Math.fround(printed) !== value) return false;
  if (printed === value) return true;
  bitsOfFloat.setFloat32(0, value);
  bitsOfFloat.setUint32(0, bitsOfFloat.getUint32(0) + (printed > value ? 1 : -1));
  const neighbour = bitsOfFloat.getFloat32(0);
  // Both are floats, and what lies between them is exact in a double.
  return !Number.isFinite(neighbour) || printed !== value + (neighbour - value) / 2;
}

/** JavaScript's shortest text can be half-way between two doubles, which only whole numbers beyond 2^53 can: Postgres takes more digits. */
function shortestDouble(value: number): string {
  const printed = value.toExponential();
  if (value <= Number.MAX_SAFE_INTEGER || !isTie(printed, value)) return printed;
  for (let digits = 1; digits < DOUBLE_DIGITS_MAX; digits += 1) {
    const longer = value.toExponential(digits);
    if (Number(longer) === value && !isTie(longer, value)) return longer;
  }
  return value.toExponential(DOUBLE_DIGITS_MAX);
}

function isTie(printed: string, value: number): boolean {
  const [mantissa = '', power = '0'] = printed.split('e');
  const digits = mantissa.replace('.', '');
  const zeros = Number(power) - digits.length + 1;
  if (zeros < 0 || zeros > POWER_OF_FIVE_MAX) return false;
  const difference = BigInt(digits) * 10n ** BigInt(zeros) - BigInt(value);
  if (difference === 0n) return false;
  bitsOfDouble.setFloat64(0, value);
  bitsOfDouble.setBigUint64(0, bitsOfDouble.getBigUint64(0) + (difference > 0n ? 1n : -1n));
  return difference * 2n === BigInt(bitsOfDouble.getFloat64(0)) - BigInt(value);
}
