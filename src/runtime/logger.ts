import { AssertionError } from '#core/assert.ts';
import { CausewayError, policyFor, type ErrorCode } from '#core/errors.ts';
import type { LogFields, Logger, LogLevel, Runtime } from '#core/runtime.ts';

const LEVEL_ORDER: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

export type LogFormat = 'json' | 'text';

export type LoggerOptions = {
  readonly runtime: Pick<Runtime, 'wallMs'>;
  /** Takes one whole line with its line break. */
  readonly write: (line: string) => void;
  readonly level: LogLevel;
  readonly format: LogFormat;
};

/** One line an event: JSON for machines, or plain text for a person at a terminal. */
export function createLogger(options: LoggerOptions, bound: LogFields = {}): Logger {
  return {
    log(level, message, fields = {}) {
      if (LEVEL_ORDER[level] < LEVEL_ORDER[options.level]) return;
      const time = new Date(options.runtime.wallMs()).toISOString();
      const all = { ...bound, ...fields };
      options.write(options.format === 'json' ? jsonLine(time, level, message, all) : textLine(time, level, message, all));
    },
    with: (fields) => createLogger(options, { ...bound, ...fields }),
  };
}

function jsonLine(time: string, level: LogLevel, message: string, fields: LogFields): string {
  const { time: _time, level: _level, message: _message, ...others } = fields;
  return `${JSON.stringify({ time, level, message, ...others })}\n`;
}

function textLine(time: string, level: LogLevel, message: string, fields: LogFields): string {
  const parts = Object.entries(fields)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => ` ${name}=${quoted(String(value))}`);
  return `${time.slice(11, 23)} ${level.padEnd(5)} ${oneLine(message)}${parts.join('')}\n`;
}

function quoted(text: string): string {
  return /^[^\s"=]+$/.test(text) ? text : JSON.stringify(text);
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, ' ');
}

/** Codes of what nobody foresaw: the place where it was thrown is all that there is to report. */
const UNKNOWN: ReadonlySet<ErrorCode> = new Set(['internal', 'sink_failed']);

/**
 * What a log line says of an error: code, text, mend. The stack only for what nobody foresaw. The text of an
 * error that may be a driver's is left out: it can repeat a row's value.
 */
export function errorFields(error: unknown): LogFields {
  if (error instanceof CausewayError) {
    const { cause } = error;
    const stack = UNKNOWN.has(error.code) && cause instanceof Error ? framesOf(cause) : undefined;
    return { code: error.code, error: error.message, mend: policyFor(error.code).mend, cause: causeText(cause), stack };
  }
  if (!(error instanceof Error)) return { code: 'internal', error: typeof error };
  const safe =
    error instanceof AssertionError || error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError;
  return { code: 'internal', error: safe ? error.message : causeText(error), stack: framesOf(error), cause: causeText(error.cause) };
}

/** Without the first lines, which are the error's own text. */
function framesOf({ stack }: Error): string | undefined {
  return stack
    ?.split('\n')
    .filter((line) => line.startsWith('    at '))
    .join('\n');
}

function causeText(cause: unknown): string | undefined {
  if (cause === undefined || cause === null) return undefined;
  if (cause instanceof CausewayError) return `${cause.code}: ${cause.message}`;
  if (!(cause instanceof Error)) return undefined;
  const code = 'code' in cause && typeof cause.code === 'string' ? ` ${cause.code}` : '';
  return `${cause.name}${code}`;
}
