// Configuration files as people damage them. Each mistake is named by its place; nothing tells a secret.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connectors } from '../../../connectors/registry.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { formatMistakes } from '../../../src/config/mistakes.ts';
import type { Chance } from '../chance.ts';
import { MARKER, tellsMarker, type Reaction, type Target } from '../target.ts';

const folder = join(import.meta.dirname, '../../../config');
const secretFile = `control: { kind: embedded, path: ./data/control.db }
pipelines:
  orders:
    source:
      kind: postgres
      url: postgres://reader:${MARKER}@source.example/db
      tables: [public.orders, { name: archive.*, snapshot: never, target: old.* }, "!archive.scratch"]
    log: { kind: embedded, path: ./data/orders.log }
    sinks:
      warm:
        kind: postgres
        url: \${SINK_URL}
        deadLetter: { parkedKeysMax: 7 }
      cold: { kind: postgres, url: "\${file:/run/secrets/cold}", provision: create }
`;
const files = [
  secretFile,
  secretFile,
  ...['demo.yaml', 'example.yaml', 'quickstart.yaml'].map((name) => readFileSync(join(folder, name), 'utf8')),
];
const buffers = files.map((text) => Buffer.from(text));

const surroundings = {
  env: { SINK_URL: `postgres://writer:${MARKER}@sink.example/db`, SECRET: MARKER, PGPASSWORD: MARKER },
  readFile: (path: string): string => {
    if (path.includes('missing')) throw Object.assign(new Error(`no such file ${MARKER}`), { code: 'ENOENT' });
    return `postgres://writer:${MARKER}@cold.example/db\n`;
  },
};

const words = [
  ...[
    'null',
    '~',
    'true',
    '-1',
    '1e999',
    '0x10',
    '.nan',
    '""',
    "''",
    '[]',
    '{}',
    '{',
    ']',
    '- - -',
    '!!binary aGk=',
    '!!set {a}',
    '&a',
    '*a',
  ],
  ...[
    '? x',
    '| ',
    '> ',
    '"\\x"',
    '@x',
    '`x',
    '%TAG',
    '---',
    '...',
    '\t',
    '${SECRET}',
    '${file:/run/x}',
    '${file:/missing}',
    '${}',
    '${a b}',
  ],
  ...[
    '$${SECRET}',
    '<<: *a',
    '&a [*a, *a]',
    'kind: postgres',
    'kind: mysql',
    '__proto__: {}',
    'constructor: x',
    '999999999999s',
    '-5s',
    '30s',
  ],
  ...[`*${MARKER}`, `!${MARKER} x`, `"${MARKER}\\q"`, `\${${MARKER}!}`, 'url: ${SECRET}', `url: "${MARKER}:${MARKER}@"`],
];

/** Lines dropped, doubled, moved, indented otherwise, or with a strange word in the place of a value. */
function rewritten(chance: Chance): Buffer {
  const lines = chance.among(files).split('\n');
  for (let left = 1 + chance.below(4); left > 0; left -= 1) {
    const at = chance.below(lines.length);
    const line = lines[at] ?? '';
    switch (chance.below(6)) {
      case 0:
        lines.splice(at, 1);
        break;
      case 1:
        lines.splice(chance.below(lines.length), 0, line);
        break;
      case 2:
        lines[at] = ' '.repeat(chance.below(4)) + line.slice(chance.below(3));
        break;
      case 3:
        lines[at] = `${line} ${chance.among(words)}`;
        break;
      default:
        lines[at] = line.replace(/(:\s).*$/, (_, colon: string) => colon + chance.among(words));
    }
  }
  return Buffer.from(lines.join('\n'));
}

function unfolding(chance: Chance): Buffer {
  const levels = 2 + chance.below(12);
  const lines = Array.from(
    { length: levels },
    (_, level) =>
      `a${level}: &a${level} [${
        level === 0
          ? 'x'
          : Array(9)
              .fill(`*a${level - 1}`)
              .join(', ')
      }]`,
  );
  return Buffer.from(lines.join('\n'));
}

export function configTarget(): Target {
  return {
    name: 'config',
    weight: 20,
    form: 'txt',
    make(chance) {
      if (chance.is(0.01)) return unfolding(chance);
      return chance.is(0.7) ? rewritten(chance) : chance.damaged(chance.among(buffers), buffers);
    },
    async react(input): Promise<Reaction> {
      try {
        const text = input.toString('utf8');
        const loaded = await loadConfig({ file: 'causeway.yaml', text, surroundings, connectors });
        if (loaded.tag === 'mistakes') return { said: tellsName(text) ? [] : [formatMistakes(loaded.mistakes)] };
        return { said: isPasswordOnly(text) ? [JSON.stringify(loaded.printable)] : [] };
      } catch (error) {
        return { thrown: error };
      }
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** A key or a name has to be told, so that a marker which stands in the place of one is no secret any more. */
function tellsName(text: string): boolean {
  return new RegExp(`[\\w"'\\-]*${MARKER}[^\\n:]*:(\\s|$)|name:.*${MARKER}|tables:.*${MARKER}|[?&,{[-]\\s*["']?${MARKER}`).test(text);
}

/** What is printed of a file that is right shows all but secrets: there the marker counts where it is a password, or comes from elsewhere. */
function isPasswordOnly(text: string): boolean {
  return !tellsMarker(text.replaceAll(`url: postgres://reader:${MARKER}@source.example/db\n`, ''));
}
