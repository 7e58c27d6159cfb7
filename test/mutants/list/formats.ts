import { unit, type Mutant } from '../mutant.ts';

const members = unit('runtime/control-members');
const issue = 'docs/upgrade.md';

/** Daemons of two releases that share a pipeline. */
export const formatMutants: readonly Mutant[] = [
  {
    name: 'a row of a format that is not known is read',
    file: 'src/runtime/readable-rows.ts',
    find: 'row === null || logFormats.some((known) => known === format)',
    put: 'row === null || format !== null',
    breaks: issue,
    suite: members,
  },
  {
    name: 'a row of a format that is not known is read where a swap meets it',
    file: 'src/runtime/readable-rows.ts',
    find: "if (swap.tag === 'conflict') readable(swap.current);",
    put: '',
    breaks: issue,
    suite: members,
  },
  {
    name: 'a lease that is taken loses what a later release added to it',
    file: 'src/lease/standby.ts',
    find: '    ...over.row,\n',
    put: '',
    breaks: issue,
    suite: members,
  },
  {
    name: 'a checkpoint that is fenced loses what a later release added to it',
    file: 'src/capture/checkpoint.ts',
    find: '(current === null ? null : { ...current, ...this.#owner })',
    put:
      '(current === null ? null : { epoch: current.epoch, position: current.position, sequence: current.sequence, ' +
      'partitions: current.partitions, ...this.#owner })',
    breaks: issue,
    suite: members,
  },
  {
    name: 'a row of the control store loses a member',
    file: 'src/capture/checkpoint.ts',
    find: '...(heartbeats === undefined ? {} : { heartbeats }),',
    put: '...(heartbeats === undefined ? {} : { beats: heartbeats }),',
    breaks: issue,
    suite: unit('golden/control-rows'),
  },
  {
    name: 'a dead letter of a format that is not known is read',
    file: 'connectors/log-kafka/dead-letter.ts',
    find: 'if (value !== null) this.#assertReadable(partition, record);',
    put: '',
    breaks: issue,
    suite: unit('connectors/log-kafka/dead-letter'),
  },
];
