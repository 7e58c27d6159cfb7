// Inputs that are tried at every run: examples, and whatever once showed a defect.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Target } from './target.ts';

const folder = join(import.meta.dirname, 'corpus');

export function readCorpus(target: Target): readonly { readonly name: string; readonly input: Buffer }[] {
  const own = join(folder, target.name);
  if (!existsSync(own)) return [];
  return readdirSync(own)
    .sort()
    .map((name) => {
      const text = readFileSync(join(own, name), 'utf8');
      return { name, input: name.endsWith('.hex') ? Buffer.from(text.replaceAll(/\s/g, ''), 'hex') : Buffer.from(text, 'utf8') };
    });
}

/** Returns the path of the new file. */
export function addToCorpus(target: Target, input: Buffer): string {
  const own = join(folder, target.name);
  mkdirSync(own, { recursive: true });
  const hash = createHash('sha256').update(input).digest('hex').slice(0, 12);
  // Text that is no UTF-8 would come back as other text.
  const asText = target.form === 'txt' && Buffer.from(input.toString('utf8')).equals(input);
  const path = join(own, `found-${hash}.${asText ? 'txt' : 'hex'}`);
  writeFileSync(path, asText ? input : `${input.toString('hex').replaceAll(/.{120}/g, '$&\n')}\n`);
  return path;
}
