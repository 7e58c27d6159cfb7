import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Node, type YAMLError } from 'yaml';

/** Where in the file a mistake is. Lines and columns start at 1. */
export type Place = { readonly line: number; readonly column: number };

export type ConfigPath = readonly (string | number)[];

export type Mistake = Place & {
  readonly file: string;
  /** Dotted path of the key, empty for the file as a whole. */
  readonly path: string;
  readonly message: string;
  readonly mend: string;
};

/** What `${…}` needs from outside. */
export type Surroundings = {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Throws where the file cannot be read. */
  readonly readFile: (path: string) => string;
};

/** A value that held `${…}`: what stood in the file, and whether it may be read as a number. */
export type Expansion = { readonly original: string; readonly plain: boolean };

export type ReadFile = {
  readonly value: unknown;
  readonly expansions: ReadonlyMap<string, Expansion>;
  /** Paths of files that `${file:…}` named. */
  readonly secretFiles: readonly string[];
  readonly mistakes: readonly Mistake[];
  /** Of the value at this path, or of the nearest one around it; with `key`, of the key itself. */
  readonly placeOf: (path: ConfigPath, at: 'key' | 'value') => Place;
};

/** A file of a few kilobytes needs far fewer; aliases could otherwise unfold without bound. */
const NODES_MAX = 100_000;
const DEPTH_MAX = 40;
const REFERENCE = /\$(\$\{|\{([^}]*)\})/g;

/** The parser's own messages quote what stands there, which can be a secret. The others name the rule that was broken. */
const QUOTING: Readonly<Partial<Record<YAMLError['code'], string>>> = {
  BAD_ALIAS: 'an alias whose anchor is not set before it; a value that begins with * stands in quotes',
  BAD_DIRECTIVE: 'a line that begins with % is a directive, and not one that is known',
  BAD_DQ_ESCAPE: 'a backslash in double quotes begins an escape, and not one that is known',
  BAD_SCALAR_START: 'a value that begins with this character stands in quotes',
  IMPOSSIBLE: 'this cannot stand here',
  TAG_RESOLVE_FAILED: 'a tag that is not known; a value that begins with ! stands in quotes',
  UNEXPECTED_TOKEN: 'this cannot stand here',
};

function syntaxText(error: YAMLError): string {
  return QUOTING[error.code] ?? error.message.split('\n')[0] ?? '';
}

/** Behind the first thing that cannot stand at its place the parser finds no sense in anything. */
function syntaxErrors(errors: readonly YAMLError[]): readonly YAMLError[] {
  const lost = errors.findIndex(({ code }) => code === 'UNEXPECTED_TOKEN');
  return lost === -1 ? errors : errors.slice(0, lost + 1);
}

export function pathKey(path: ConfigPath): string {
  return JSON.stringify(path);
}

export function pathText(path: ConfigPath): string {
  return path.map((part, index) => (typeof part === 'number' ? `[${part}]` : index === 0 ? part : `.${part}`)).join('');
}

/** Parses the text and expands `${ENV}` and `${file:/path}` in value positions. Never throws for what stands in the file. */
export function readConfigText(file: string, text: string, surroundings: Surroundings): ReadFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true, version: '1.2' });
  const mistakes: Mistake[] = [];
  const expansions = new Map<string, Expansion>();
  const secretFiles: string[] = [];
  const places = new Map<string, { readonly key: number; readonly value: number }>();

  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const mistake = (offset: number, path: ConfigPath, message: string, mend: string): void => {
    mistakes.push({ file, ...placeAt(offset), path: pathText(path), message, mend });
  };

  for (const error of syntaxErrors(document.errors)) {
    mistake(error.pos[0], [], `is not valid YAML: ${syntaxText(error)}`, 'Correct the syntax at this place.');
  }

  const expand = (raw: string, path: ConfigPath, offset: number): string =>
    raw.replaceAll(REFERENCE, (whole: string, escaped: string, reference: string | undefined) => {
      if (reference === undefined) return escaped;
      if (reference.startsWith('file:')) {
        const name = reference.slice('file:'.length);
        try {
          const content = surroundings.readFile(name);
          secretFiles.push(name);
          return content.replace(/\r?\n$/, '');
        } catch (error) {
          const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';
          mistake(offset, path, `cannot read the file ${name}${code}`, 'Make the file readable for this process, or correct its path.');
          return whole;
        }
      }
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(reference)) {
        mistake(offset, path, `is not a reference: ${whole}`, 'Write ${NAME} or ${file:/path}; a literal ${ is written $${.');
        return whole;
      }
      const found = surroundings.env[reference];
      if (found === undefined) {
        mistake(offset, path, `the environment variable ${reference} is not set`, `Set ${reference} where the daemon starts.`);
        return whole;
      }
      return found;
    });

  let nodes = 0;
  const limits = { exceeded: false };
  const valueOf = (node: Node | null, path: ConfigPath, keyOffset: number): unknown => {
    nodes += 1;
    if (nodes > NODES_MAX || path.length > DEPTH_MAX) {
      limits.exceeded = true;
      return null;
    }
    const offset = node?.range?.[0] ?? keyOffset;
    places.set(pathKey(path), { key: keyOffset, value: offset });
    if (node === null) return null;
    if (isAlias(node)) return valueOf(node.resolve(document) ?? null, path, keyOffset);
    if (isMap<Node, Node | null>(node)) {
      // Own properties only: a key such as __proto__ must stay a key.
      const entries: [string, unknown][] = [];
      for (const pair of node.items) {
        const name = isScalar(pair.key) ? String(pair.key.value) : null;
        const at = pair.key.range?.[0] ?? offset;
        if (name === null) {
          mistake(at, path, 'a key is a name', 'Write the key as plain text.');
          continue;
        }
        entries.push([name, valueOf(pair.value, [...path, name], at)]);
      }
      return Object.fromEntries(entries);
    }
    if (isSeq<Node | null>(node)) return node.items.map((item, index) => valueOf(item, [...path, index], item?.range?.[0] ?? offset));
    if (!isScalar(node)) return null;
    const value: unknown = node.value;
    if (typeof value !== 'string' || !value.includes('${')) return value;
    const expanded = expand(value, path, offset);
    expansions.set(pathKey(path), { original: value, plain: node.type === 'PLAIN' });
    return expanded;
  };
  const value = document.errors.length > 0 ? null : valueOf(document.contents, [], 0);
  if (limits.exceeded) mistake(0, [], 'unfolds into too many or too deep values', 'Use fewer aliases.');

  return {
    value,
    expansions,
    secretFiles,
    mistakes,
    placeOf: (path, at) => {
      for (let length = path.length; length >= 0; length -= 1) {
        const found = places.get(pathKey(path.slice(0, length)));
        if (found !== undefined) return placeAt(length === path.length ? found[at] : found.key);
      }
      return { line: 1, column: 1 };
    },
  };
}
