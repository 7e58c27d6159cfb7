/**
 * A text that is not what the type's output function prints under our session settings, or a canonical text that is not of its
 * type. The message holds no value. Callers decide what it means: a source withholds the row, a sink parks its key.
 */
export class ValueTextError extends Error {
  override readonly name = 'ValueTextError';
}
