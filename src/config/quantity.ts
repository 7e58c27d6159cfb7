import * as z from 'zod';
import { parseDurationMs } from '#core/quantity.ts';

/** `30s` in the file, milliseconds in the resolved configuration. */
export function duration(bounds: { readonly min: string; readonly max: string }): z.ZodType<number, string> {
  const min = parseDurationMs(bounds.min) ?? 0;
  const max = parseDurationMs(bounds.max) ?? 0;
  return z.string().transform((text, context) => {
    const ms = parseDurationMs(text);
    if (ms !== null && ms >= min && ms <= max) return ms;
    context.addIssue({
      code: 'custom',
      message: ms === null ? 'is not a duration' : `must be between ${bounds.min} and ${bounds.max}`,
      params: { mend: `Write a number with its unit (ms, s, m, h, d), from ${bounds.min} to ${bounds.max}, such as 30s.` },
    });
    return z.NEVER;
  });
}
