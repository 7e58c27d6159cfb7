import { present } from '#core/assert.ts';
import { quoted } from './names.ts';
import type { Shape } from './shape.ts';
import type { Query } from './transaction.ts';
import type { Wire } from './wire.ts';

type Operator = '<' | '<=' | '=' | '>=' | '>';

/**
 * Comparisons of a key's columns with values, in the order of the keys and as one statement takes them. In GoogleSQL NaN compares with
 * nothing, itself among it, and yet stands in a key as the lowest.
 */
export function comparisons({ key, dialect }: Shape): {
  readonly parameters: NonNullable<Query['parameters']>;
  readonly compared: (place: number, operator: Operator, value: Wire) => string;
} {
  const isPostgres = dialect === 'POSTGRESQL';
  const parameters: { readonly value: Wire; readonly code: Shape['key'][number]['type']['code'] }[] = [];
  // A value that is compared twice is sent once.
  const numbers = new Map<Wire, number>();
  const compared = (place: number, operator: Operator, value: Wire): string => {
    const { column, type } = present(key[place], 'a column of the key');
    const name = quoted(column.name, dialect);
    const isFloat = !isPostgres && (type.code === 'FLOAT32' || type.code === 'FLOAT64');
    if (isFloat && 'stringValue' in value && value.stringValue === 'NaN') return besideNaN(`IS_NAN(${name})`, operator);
    const number = numbers.get(value) ?? parameters.push({ value, code: type.code });
    numbers.set(value, number);
    const parameter = isPostgres ? `$${number}` : `@p${number}`;
    const plain = `${name} ${operator} ${parameter}`;
    return isFloat && operator.startsWith('<') ? `(IS_NAN(${name}) OR ${plain})` : plain;
  };
  return { parameters, compared };
}

function besideNaN(isNaN: string, operator: Operator): string {
  switch (operator) {
    case '<':
      return 'FALSE';
    case '<=':
    case '=':
      return isNaN;
    case '>':
      return `NOT ${isNaN}`;
    case '>=':
      return 'TRUE';
  }
}
