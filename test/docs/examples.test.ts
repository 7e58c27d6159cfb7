import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { connectors } from '../../connectors/registry.ts';
import { misunderstood } from '../../src/cli/program.ts';
import { initialConfig } from '../../src/config/initial.ts';
import { loadConfig, type Loaded } from '../../src/config/load.ts';
import { formatMistakes } from '../../src/config/mistakes.ts';
import { errorTable } from '../../src/core/errors.ts';

const root = join(import.meta.dirname, '../..');

/** Whatever a file names: an address of a database of its own, a folder, a port. */
function valueOf(name: string): string {
  if (name.endsWith('_PORT')) return '8080';
  if (name.endsWith('_BROKER')) return 'kafka.example.com:9092';
  if (name.endsWith('_ENDPOINT')) return 'http://127.0.0.1:8000';
  return name.endsWith('_DIR') ? '/tmp' : `postgres://user:secret@localhost/${name.replaceAll(/\W/g, '_')}`;
}

const env = new Proxy<Record<string, string>>({}, { get: (_, name) => valueOf(String(name)) });

function load(file: string, text: string): Promise<Loaded> {
  return loadConfig({ file, text, surroundings: { env, readFile: valueOf }, connectors });
}

async function accept(file: string, text: string): Promise<void> {
  const loaded = await load(file, text);
  expect(loaded.tag === 'mistakes' ? formatMistakes(loaded.mistakes) : '').toBe('');
}

const examples = readdirSync(join(root, 'config')).filter((name) => name.endsWith('.yaml'));

test.each(examples)('config/%s is valid', async (name) => {
  await accept(name, readFileSync(join(root, 'config', name), 'utf8'));
});

test('what `config init` writes is valid, also with its comments turned into keys', async () => {
  await accept('init', initialConfig);
  const uncommented = initialConfig.replaceAll(/^(\s*)# (logging|stop|lease|deadLetter|passwordFile|- \{ name)/gm, '$1$2');
  expect(uncommented).not.toBe(initialConfig);
  const loaded = await load('init', uncommented);
  // A password in the address and one in a file at once is the only thing that is wrong with all of them together.
  expect(loaded.tag === 'mistakes' ? loaded.mistakes.map(({ path }) => path) : []).toEqual(['pipelines.main.source.url']);
});

const pages = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'));
const documents = ['README.md', ...pages.map((name) => join('docs', name))];

/** Command lines that a text tells a reader to run, in a block or between backticks, without what a shell makes of them. */
function commandsIn(text: string): readonly string[] {
  return [...text.matchAll(/(?:^ *|`|<\()(?:causeway|npm start --) ([^`#|()\n]*)/gm)].map(([, line = '']) => line.trim());
}

async function misunderstandings(text: string): Promise<readonly string[]> {
  const found = await Promise.all(commandsIn(text).map(async (line) => ({ line, wrong: await misunderstood(line.split(/\s+/)) })));
  return found.flatMap(({ line, wrong }) => (wrong === null ? [] : [`causeway ${line}: ${wrong}`]));
}

test('a command that does not exist, an option too many or a word too many is found', async () => {
  const lines = ['causeway pipeline stop', 'causeway status --all', 'causeway pipeline pause main'];
  for (const line of lines) expect(await misunderstandings(`say \`${line}\``)).toHaveLength(1);
  expect(await misunderstandings('causeway pipeline pause -p main   # stops\n`causeway dlq show KEY`')).toEqual([]);
});

test.each(documents)('%s: every whole file that it shows is valid, and every command can be run as it stands', async (name) => {
  const text = readFileSync(join(root, name), 'utf8');
  for (const [, block = ''] of text.matchAll(/```yaml\n(.*?)```/gs)) {
    // A part of a file is shown without its version.
    if (block.startsWith('version:')) await accept(name, block);
  }
  expect(await misunderstandings(text)).toEqual([]);
});

test('links between the pages lead to files', () => {
  const broken = documents.flatMap((name) =>
    [...readFileSync(join(root, name), 'utf8').matchAll(/\]\((?!https?:|#)([^)#]+)/g)]
      .map(([, target = '']) => target)
      .filter((target) => !existsSync(join(root, name, '..', target)))
      .map((target) => `${name} → ${target}`),
  );
  expect(broken).toEqual([]);
});

test('every command that a mend names can be run', async () => {
  const missing = await Promise.all(Object.values(errorTable).map(({ mend, meaning }) => misunderstandings(`${mend} ${meaning}`)));
  expect(missing.flat()).toEqual([]);
});

test('the README shows the file that `config init` writes', async () => {
  const [, block = ''] = /```yaml\n(version.*?)```/s.exec(readFileSync(join(root, 'README.md'), 'utf8')) ?? [];
  const [shown, written] = await Promise.all([load('file', block), load('file', initialConfig)]);
  expect(shown.tag).toBe('ok');
  expect(shown).toEqual(written);
});
