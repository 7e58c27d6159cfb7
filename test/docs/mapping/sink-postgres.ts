import { isKeyType } from '#core/key.ts';
import { tableSchema, type TableId } from '#core/schema.ts';
import { CausewayError } from '#core/errors.ts';
import { columnEncoder } from '../../../connectors/sink-postgres/encode.ts';
import { refusalOf, refusedConditions } from '../../../connectors/sink-postgres/errors.ts';
import type { Session } from '../../../connectors/sink-postgres/session.ts';
import { knownTypes, targetType } from '../../../connectors/sink-postgres/target-type.ts';
import { ValueTextError } from '../../../connectors/lib/postgres/value-text-error.ts';
import type { TypeCase } from '../../support/canonical-values.ts';
import type { Kept, SinkMapping } from './sink.ts';

/** All that is asked of a target's session for a type: whether it is there. */
function target(knows: (type: string) => boolean): Session {
  const texts: Session['texts'] = (_statement, names) =>
    Promise.resolve((names ?? []).flatMap((name) => (typeof name === 'string' && knows(name) ? [[name]] : [])));
  return { texts } as Pick<Session, 'texts'> as Session;
}

const elsewhere = (name: string): boolean => name.startsWith('public.') || name.endsWith(' unsigned');

async function made({ sourceType, type }: TypeCase, session: Session): Promise<string> {
  const schema = tableSchema({ table: 'public.orders' as TableId, columns: [], key: [] });
  const known = knownTypes(schema, { makeDomains: true, register: 'sidecar' });
  try {
    const found = await targetType(session, { name: 'value', type, sourceType }, known);
    return [`\`${found.type}\``, ...found.before.map((statement) => `behind \`${statement}\``)].join(', ');
  } catch (error) {
    if (error instanceof CausewayError) return `refused: ${error.message}`;
    throw error;
  }
}

function keep({ type }: TypeCase, text: string): Kept {
  try {
    columnEncoder(type)(1, () => text);
    return { stored: 'the value itself' };
  } catch (error) {
    if (error instanceof ValueTextError) return { refused: error.message };
    throw error;
  }
}

export const postgresMapping: SinkMapping = {
  kind: 'postgres',
  title: 'Sink: Postgres',
  intro: `A column is made with the source's own type where the target knows that, so that a copy of Postgres has the same columns. An enum or a
domain is made as the source has it. The table names what a column becomes at a target that knows only what is built in: for a type
that is not there, the one that holds the canonical values without loss. A type of an extension is refused until the extension is there.

A table that exists may have other types: \`causeway check\` names each difference, and \`provision: check\` refuses it.`,
  settings: [{ label: null, keep }],
  made: (type) =>
    made(
      type,
      target((name) => !elsewhere(name)),
    ),
  key: ({ type }) => (isKeyType(type) ? 'the columns themselves' : 'refused at the source'),
  refusals: async () => [
    [
      'stops the sink: a type that the target does not know',
      (
        await made(
          { sourceType: 'public.hstore', type: { tag: 'other', name: 'public.hstore' }, edges: [] },
          target(() => false),
        )
      ).replace('refused: ', ''),
    ],
    ...refusedConditions.map((code) => {
      const refusal = refusalOf(Object.assign(new Error('refused'), { severity: 'ERROR', code }));
      return ['parks: the server refuses the row', refusal?.reason ?? 'nothing'] as const;
    }),
  ],
};
