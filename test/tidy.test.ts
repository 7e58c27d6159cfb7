// House rules that no linter knows.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, extname, join } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');
const linesMax = 500;
/** A suite that every implementation of a port runs stands in one file. */
const testLinesMax = 1_000;
const wordsForNothing = new Set(['utils', 'util', 'common', 'helpers', 'helper', 'types', 'misc']);
const textEndings = new Set(['.ts', '.mjs', '.cjs', '.js', '.json', '.md', '.yaml', '.yml', '.sql', '.sh', '']);

/** What is committed, and what is about to be. */
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((path) => path !== '' && existsSync(join(root, path)));
const code = files.filter((path) => /\.(ts|mjs)$/.test(path));
const product = code.filter((path) => /^(src|connectors)\//.test(path));
const texts = files.filter((path) => textEndings.has(extname(path)) && path !== 'package-lock.json' && path !== 'LICENSE');

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

/** `path:line: text` of each line that the pattern matches. */
function matches(paths: readonly string[], pattern: RegExp): string[] {
  return paths.flatMap((path) =>
    read(path)
      .split('\n')
      .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [])),
  );
}

describe('files', () => {
  test('are found', () => {
    expect(product.length).toBeGreaterThan(10);
  });

  test('have names in kebab-case', () => {
    const odd = code.filter((path) => !/^[a-z0-9]+(-[a-z0-9]+)*(\.(test|config))?$/.test(basename(path, extname(path))));
    expect(odd).toEqual([]);
  });

  test('and folders are named for what they hold', () => {
    const vague = code.filter((path) =>
      [...dirname(path).split('/'), basename(path, extname(path))].some((part) => wordsForNothing.has(part)),
    );
    expect(vague).toEqual([]);
  });

  test(`have at most ${linesMax} lines, tests ${testLinesMax}`, () => {
    const long = code
      .map((path) => ({ path, lines: read(path).split('\n').length }))
      .filter(({ path, lines }) => lines > (path.startsWith('test/') ? testLinesMax : linesMax));
    expect(long).toEqual([]);
  });

  test('end with one newline, and no line ends with a blank', () => {
    const odd = texts.filter((path) => /[ \t]\n/.test(read(path)) || !/(^|[^\n])\n$/.test(read(path)));
    expect(odd).toEqual([]);
  });
});

describe('source text', () => {
  test('names no path of one machine', () => {
    const machine = new RegExp(
      ['/wo' + 'rk/', '/ro' + 'ot/', '/Us' + 'ers/', homedir() + '/'].map((path) => `(^|[\\s'"\`(=])${RegExp.escape(path)}`).join('|'),
    );
    expect(matches(texts, machine)).toEqual([]);
  });

  test('leaves nothing for later', () => {
    // Put together here, so that this file does not hold what it looks for.
    const markers = [
      ['TO', 'DO'],
      ['FIX', 'ME'],
      ['XX', 'X'],
      ['HA', 'CK'],
    ].map((halves) => halves.join(''));
    expect(matches(code, new RegExp(`\\b(${markers.join('|')})\\b`))).toEqual([]);
  });

  test('silences no checker without a reason', () => {
    expect(
      matches(code, new RegExp(`@ts-(ignore|nocheck)|@ts-expect-error\\s*$|eslint-disable(?!-(next-)?line [^ ]+ -- \\S)`)).filter(
        (line) => !line.startsWith('test/tidy'),
      ),
    ).toEqual([]);
  });

  test('of the product takes time and chance from the runtime only', () => {
    const direct = /\b(new Date\b|Date\.|performance\.|set(Timeout|Interval|Immediate)\(|Math\.random|AbortSignal\.timeout)/;
    expect(
      matches(
        product.filter((path) => !path.startsWith('src/runtime/')),
        direct,
      ).filter((line) => !isComment(line)),
    ).toEqual([]);
  });

  test('of the product ends no process but in the supervisor and the command line', () => {
    const elsewhere = product.filter((path) => !/^src\/(runtime\/|cli\/|main\.ts$)/.test(path));
    expect(matches(elsewhere, /\bprocess\.(exit|abort|kill|env|argv|on)\b/)).toEqual([]);
  });
});

describe('tests', () => {
  const tests = code.filter((path) => path.startsWith('test/') && path !== 'test/tidy.test.ts');

  test('run all, once', () => {
    expect(matches(tests, /\b(describe|test|it|suite)\.(only|skip|todo|fails)\(|\bretry\s*:\s*\d/)).toEqual([]);
  });

  test('do not wait a fixed time for something to happen', () => {
    const inTests = tests.filter((path) => path.endsWith('.test.ts'));
    expect(matches(inTests, /await (sleep|delay|setTimeout)\(\d[\d_]*\)/)).toEqual([]);
  });

  test('stand where a project runs them', () => {
    const known =
      /^test\/((core|capture|apply|chunk|reconcile|lease|codec|config|cli|http|metrics|runtime|connectors|docs|golden|mutants|fuzz|contract|sim|integration)\/.*|tidy)\.test\.ts$/;
    expect(tests.filter((path) => path.endsWith('.test.ts') && !known.test(path))).toEqual([]);
  });
});

function isComment(line: string): boolean {
  return /^[^:]+:\d+: (\/\/|\*|\/\*)/.test(line);
}
