import { CausewayError } from '#core/errors.ts';
import type { Io } from './io.ts';

const SHELLS = ['bash', 'zsh'];

/** Prints a script that the shell reads: it completes the words of commands, and files after them. */
export function completion(io: Io, shell: string, paths: ReadonlySet<string>): number {
  if (!SHELLS.includes(shell))
    throw new CausewayError('usage', `there is no completion for ${shell}; there is one for ${SHELLS.join(' and ')}`);
  // Zsh reads the script of bash once it was asked to.
  const prelude = shell === 'zsh' ? 'autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n' : '';
  io.stdout(prelude + bashScript(paths));
  return 0;
}

function bashScript(paths: ReadonlySet<string>): string {
  const verbs = new Map<string, string[]>();
  for (const [noun = '', verb] of [...paths].map((path) => path.split(' '))) {
    verbs.set(noun, [...(verbs.get(noun) ?? []), ...(verb === undefined ? [] : [verb])]);
  }
  const cases = [...verbs].flatMap(([noun, words]) =>
    words.length === 0 ? [] : [`    ${noun}) [ "$COMP_CWORD" -eq 2 ] && words='${words.join(' ')}' ;;`],
  );
  return `_causeway() {
  local words=''
  case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
  esac
  [ "$COMP_CWORD" -eq 1 ] && words='${[...verbs.keys()].join(' ')}'
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _causeway causeway
`;
}
