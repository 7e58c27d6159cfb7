import { schedule, unit, type Mutant } from '../mutant.ts';

const ownRecords = 'src/capture/own-records.ts';
const fence = 'C1 C6, counterexample 32';

export const ownRecordsMutants: readonly Mutant[] = [
  {
    name: "somebody else's records between own ones are not looked at",
    file: 'src/capture/publisher.ts',
    find: '      if (confirmed !== null) await confirmed;\n',
    put: '      confirmed?.catch(() => undefined);\n',
    breaks: fence,
    suite: unit('capture/own-records'),
  },
  {
    name: 'a superseded holder acknowledges once the control store went back',
    file: ownRecords,
    find: '    if (generation > own.generation) {',
    put: '    if (false) {',
    breaks: fence,
    suite: schedule('32: a control store that went back makes a superseded holder'),
  },
  {
    name: 'another holder of the own generation is not told from oneself',
    file: ownRecords,
    find: ' && holder !== shortHolder(own.holder)) {',
    put: ' && false) {',
    breaks: fence,
    suite: unit('capture/own-records'),
  },
  {
    name: 'what comes between the tail and the opening is passed over',
    file: ownRecords,
    find: 'if (end > expected) (gaps',
    put: 'if (end > expected && this.#counters[partition] !== 0) (gaps',
    breaks: fence,
    suite: unit('capture/own-records'),
  },
  {
    name: 'the slot is taken again without a look at the log',
    file: 'src/capture/open.ts',
    find: '    await own?.lookBehind(ends, signal);\n',
    put: '',
    breaks: fence,
    suite: unit('capture/own-records'),
  },
  {
    name: 'what was freed between own records counts as looked at',
    file: ownRecords,
    find: "    if (codeOf(error) !== 'log_offset_gone') throw error;",
    put: "    if (codeOf(error) === 'log_offset_gone') return;",
    breaks: fence,
    suite: unit('capture/own-records'),
  },
  {
    name: 'a log that became shorter under its writer is written on',
    file: ownRecords,
    find: '      if (end < expected) throw',
    put: '      if (false) throw',
    breaks: 'C7, counterexample 40',
    suite: unit('capture/own-records'),
  },
  {
    name: 'the schemas behind an opening are counted before they are handed to the log',
    file: 'src/capture/open.ts',
    find: '  return { encoder, batches: [opening, () => encoder.announce(tables.liveSchemas)] };',
    put:
      '  const batches = [opening(), encoder.announce(tables.liveSchemas)];\n' +
      '  return { encoder, batches: batches.map((batch) => () => batch) };',
    breaks: 'C7',
    suite: unit('capture/start'),
  },
];
