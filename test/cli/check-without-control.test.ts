import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Finding } from '#core/finding.ts';
import { runCommandLine } from '../../src/cli/program.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'causeway-check-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('a control store that cannot be used is told once, and the others are looked at without it', async () => {
  const file = join(folder, 'causeway.yaml');
  writeFileSync(join(folder, 'control.db'), 'not a control store');
  writeFileSync(
    file,
    `control: { kind: embedded, path: ${folder}/control.db }
pipelines:
  main:
    source: { kind: postgres, url: "postgres://u:p@127.0.0.1:1/none", tables: [public.*] }
    log: { kind: embedded, path: ${folder}/log.db }
    sinks: { copy: { kind: postgres, url: "postgres://u:p@127.0.0.1:1/copy" } }
`,
  );
  let out = '';
  const code = await runCommandLine(['check', '-o', 'json', '-c', file], {
    stdout: (text) => void (out += text),
    stderr: () => undefined,
    env: {},
    signal: new AbortController().signal,
  });
  expect(code).toBe(1);
  const { categories } = JSON.parse(out) as { categories: readonly { readonly area: string; readonly findings: readonly Finding[] }[] };
  const ids = categories.map(({ area, findings }) => [area, findings.filter(({ level }) => level !== 'ok').map(({ id }) => id)]);
  expect(ids).toEqual([
    ['general', []],
    ['control', [expect.stringMatching(/^control_/)]],
    ['source', ['source_unavailable']],
    ['log', ['LG-001']],
    ['sink', ['sink_unavailable']],
  ]);
});
