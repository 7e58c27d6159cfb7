import type { LogFields, Logger, LogLevel } from '#core/runtime.ts';

export const silentLogger: Logger = {
  log: () => undefined,
  with: () => silentLogger,
};

export type LoggedLine = { readonly level: LogLevel; readonly message: string; readonly fields: LogFields };

/** A logger that keeps its lines, for tests that look at what an operator would read. */
export function keepingLogger(lines: LoggedLine[] = [], fields: LogFields = {}): Logger & { readonly lines: readonly LoggedLine[] } {
  return {
    lines,
    log: (level, message, more) => void lines.push({ level, message, fields: { ...fields, ...more } }),
    with: (more) => keepingLogger(lines, { ...fields, ...more }),
  };
}
