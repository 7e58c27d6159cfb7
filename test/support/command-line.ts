// The command line as an operator runs it.
import { runCommandLine } from '../../src/cli/program.ts';

export type Ran = { readonly code: number; readonly out: string; readonly err: string };

export async function causeway(configFile: string, ...words: readonly string[]): Promise<Ran> {
  const said = { out: '', err: '' };
  const code = await runCommandLine([...words, '-c', configFile], {
    stdout: (text) => void (said.out += text),
    stderr: (text) => void (said.err += text),
    env: {},
    signal: new AbortController().signal,
  });
  return { code, ...said };
}
