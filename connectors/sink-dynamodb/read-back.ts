import { rowKeyOf } from '#core/key.ts';
import { SEQUENCE_ZERO } from '#core/sequence.ts';
import type { Row } from '#core/value.ts';
import { ValueRefused } from './encode.ts';
import { rowIn, rowItem, type Shape } from './shape.ts';

/** By way of the item that would be written: what its attributes do not give back stands in it as text. Its size is for the service to judge. */
export function readBackOf(shape: Shape): (row: Row) => Row | null {
  return (row) => {
    const key = rowKeyOf(shape.schema, row);
    if (key === null) return null;
    try {
      return rowIn(shape, rowItem(shape, { key, sequence: SEQUENCE_ZERO, row }));
    } catch (error) {
      if (error instanceof ValueRefused) return null;
      throw error;
    }
  };
}
