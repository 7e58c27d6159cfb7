// Compiles the product to JavaScript in dist/, or in the folder that is named: Node does not remove types below node_modules.
// Types are checked elsewhere (`npm run typecheck`); here each file is only translated.
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import ts from 'typescript';

const root = join(import.meta.dirname, '..');
const target = process.argv[2] ?? join(root, 'dist');

rmSync(target, { recursive: true, force: true });
const files = ['src', 'connectors'].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => join(folder, path)),
);
for (const path of files) {
  const { outputText, diagnostics } = ts.transpileModule(readFileSync(join(root, path), 'utf8'), {
    fileName: join(root, path),
    reportDiagnostics: true,
    compilerOptions: {
      module: ts.ModuleKind.ESNext,
      target: ts.ScriptTarget.ESNext,
      verbatimModuleSyntax: true,
      rewriteRelativeImportExtensions: true,
      allowImportingTsExtensions: true,
    },
  });
  if (diagnostics !== undefined && diagnostics.length > 0) {
    throw new Error(
      ts.formatDiagnostics(diagnostics, { getCanonicalFileName: (name) => name, getCurrentDirectory: () => root, getNewLine: () => '\n' }),
    );
  }
  const output = join(target, path.replace(/\.ts$/, '.js'));
  mkdirSync(dirname(output), { recursive: true });
  writeFileSync(output, outputText);
}

// The nearest package.json decides what `#core/…` means: here it leads to the compiled files, so no specifier of it is rewritten.
const { name, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { name: string; version: string };
writeFileSync(
  join(target, 'package.json'),
  `${JSON.stringify({ name, version, private: true, type: 'module', imports: { '#core/*.ts': './src/core/*.js' } }, null, 2)}\n`,
);
chmodSync(join(target, 'src/main.js'), 0o755);
console.log(`${files.length} files compiled to ${target}`);
