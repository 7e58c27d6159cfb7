// Output for people: one live line on a terminal, plain lines elsewhere.

const isTerminal = process.stdout.isTTY;
const startedAtMs = performance.now();
const plainEveryMs = 2_000;
let lastPlainMs = -Infinity;
let isLive = false;

/** Something happened: a line that stays. */
export function say(text = ''): void {
  clear();
  process.stdout.write(text === '' ? '\n' : `${stamp()}  ${text}\n`);
}

/** A line without a time before it. */
export function print(text: string): void {
  clear();
  process.stdout.write(`${text}\n`);
}

/** How things stand: replaces the last such line on a terminal, and comes every two seconds elsewhere. */
export function show(text: string): void {
  if (isTerminal) {
    process.stdout.write(`\r\u001b[2K${stamp()}  ${text}`.slice(0, Math.max(40, process.stdout.columns)));
    isLive = true;
    return;
  }
  if (performance.now() - lastPlainMs < plainEveryMs) return;
  lastPlainMs = performance.now();
  process.stdout.write(`${stamp()}  ${text}\n`);
}

export function strong(text: string): string {
  return isTerminal ? `\u001b[1m${text}\u001b[0m` : text;
}

export function verdictColour(text: string, isGood: boolean): string {
  return isTerminal ? `\u001b[1;${isGood ? 32 : 31}m${text}\u001b[0m` : text;
}

function stamp(): string {
  return `${((performance.now() - startedAtMs) / 1_000).toFixed(1).padStart(6)} s`;
}

function clear(): void {
  if (isLive) process.stdout.write('\n');
  isLive = false;
}
