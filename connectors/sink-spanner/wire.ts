/*
 * Values as they travel: google.protobuf.Value, by the encoding of google/spanner/v1/type.proto. INT64, NUMERIC, dates and times are texts,
 * bytes are texts in base64, and a float that is not finite is a text too. So nothing passes through a number of JavaScript but a float.
 */

export type Wire =
  | { readonly nullValue: 'NULL_VALUE' }
  | { readonly boolValue: boolean }
  | { readonly numberValue: number }
  | { readonly stringValue: string }
  | { readonly listValue: { readonly values: readonly Wire[] } };

/** As the client gives it back: `kind` names the field that is set. */
export type Received = {
  readonly kind?: string;
  readonly boolValue?: boolean | null;
  readonly numberValue?: number | null;
  readonly stringValue?: string | null;
  readonly listValue?: { readonly values?: readonly Received[] | null } | null;
};

export const NULL: Wire = { nullValue: 'NULL_VALUE' };

export const textWire = (text: string): Wire => ({ stringValue: text });
export const flagWire = (flag: boolean): Wire => ({ boolValue: flag });
/** A sequence, in the hexadecimal text that it has here, as bytes. */
export const bytesWire = (hex: string): Wire => ({ stringValue: Buffer.from(hex, 'hex').toString('base64') });

/** Null where it is no text. */
export function textOf(value: Received | undefined): string | null {
  return value?.stringValue ?? null;
}

/** Continues a value that did not fit one message (PartialResultSet.chunked_value): texts and lists grow, nothing else is cut. */
export function joined(first: Received, rest: Received): Received {
  if (typeof first.stringValue === 'string' && typeof rest.stringValue === 'string')
    return { kind: 'stringValue', stringValue: first.stringValue + rest.stringValue };
  const [before, after] = [first.listValue?.values ?? [], rest.listValue?.values ?? []];
  const last = before.at(-1);
  const next = after[0];
  if (last === undefined || next === undefined) return { kind: 'listValue', listValue: { values: [...before, ...after] } };
  const values = isCut(last, next) ? [...before.slice(0, -1), joined(last, next), ...after.slice(1)] : [...before, ...after];
  return { kind: 'listValue', listValue: { values } };
}

/** "The last element of the first list is merged with the first of the second where both are texts, or both are lists." */
function isCut(last: Received, next: Received): boolean {
  return last.kind === next.kind && (last.kind === 'stringValue' || last.kind === 'listValue');
}

const FIXED_BYTES = 9;

/** About what it takes on the wire. */
export function sizeOf(value: Wire | Received): number {
  const { stringValue, listValue } = value as Received;
  if (typeof stringValue === 'string') return stringValue.length + 2;
  return (listValue?.values ?? []).reduce((sum, one) => sum + sizeOf(one), FIXED_BYTES);
}
