// Runs dependency-cruiser over the product and checks that it really read every module: with a compiler that it does not
// know it cruises nothing at all and ends with success.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

interface Violation {
  readonly from: string;
  readonly to: string;
  readonly rule: { readonly name: string };
}
interface Report {
  readonly modules: readonly { readonly source: string }[];
  readonly summary: { readonly violations: readonly Violation[] };
}

const root = join(import.meta.dirname, '..');
const folders = ['src', 'connectors'].filter((folder) => existsSync(join(root, folder)));
const files = folders.flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => join(folder, path)),
);

// It ends with the number of violations, which the report holds as well: only a report that cannot be read is a failure of its own.
const run = spawnSync(
  process.execPath,
  [
    join(root, 'node_modules/dependency-cruiser/bin/dependency-cruiser.mjs'),
    '--config',
    '.dependency-cruiser.cjs',
    '-T',
    'json',
    ...folders,
  ],
  { cwd: root, encoding: 'utf8', maxBuffer: 256 * 1024 * 1024, stdio: ['ignore', 'pipe', 'inherit'] },
);
const report = JSON.parse(run.stdout) as Report;
const read = new Set(report.modules.map((module) => module.source));
const missed = files.filter((file) => !read.has(file));

for (const { rule, from, to } of report.summary.violations) console.error(`${rule.name}: ${from} → ${to}`);
for (const file of missed) console.error(`not read by dependency-cruiser: ${file}`);
console.log(`${files.length - missed.length} of ${files.length} modules read, ${report.summary.violations.length} forbidden imports`);
process.exitCode = report.summary.violations.length > 0 || missed.length > 0 || files.length === 0 ? 1 : 0;
