import { CausewayError } from '#core/errors.ts';
import type { SinkClaim } from '#core/sink.ts';

import { ownerCondition, type ProgressOwner } from './progress.ts';
import { ADVISORY_LOCK, missingOwnTables } from './provision.ts';
import { commit, type Session } from './session.ts';

/**
 * Claims the progress of a pipeline and sink name for one deployment. Errors: `sink_claimed` where another one has it;
 * `sink_misconfigured` with the DDL where the sink's own tables are missing and may not be made.
 *
 * A claim that is missing is made, by a known sink with whatever progress is there: the database went back to a state from before
 * the claim, so the progress is of the same deployment or, as the claim was made first, there is none; then apply stops with
 * `sink_unknown_progress`. A sink that is not known yet never had any, so that what is there is somebody else's.
 */
export async function claimProgress(
  session: Session,
  of: ProgressOwner & { readonly mode: 'create' | 'check' },
  by: SinkClaim,
): Promise<void> {
  const { own, pipeline, sink, mode } = of;
  await session.transaction([{ text: ADVISORY_LOCK }], async () => {
    const missing = await missingOwnTables(session, own);
    if (missing.length > 0 && mode === 'check') {
      const list = missing.map((statement) => `${statement};`).join('\n');
      throw new CausewayError(
        'sink_misconfigured',
        `the sink lacks what these statements make (or set \`provision: create\`; \`causeway check --only sink\` prints what the tables lack):\n${list}`,
      );
    }
    for (const statement of missing) await session.script(statement);
    const unclaimed = by.known ? 'true' : `NOT EXISTS (SELECT FROM ${own.progress} WHERE ${ownerCondition(of)})`;
    await session.texts(
      `INSERT INTO ${own.owners} (pipeline, sink, owner) SELECT $1, $2, $3 WHERE ${unclaimed} ON CONFLICT (pipeline, sink) DO NOTHING`,
      [pipeline, sink, by.owner],
    );
    const owner = await ownerOf(session, of);
    if (owner === null) {
      throw new CausewayError(
        'sink_misconfigured',
        `the sink ${sink} is new, but holds progress of an earlier pipeline: remove that with \`causeway pipeline remove -p ${pipeline} --sink ${sink} --confirm ${pipeline}\``,
      );
    }
    if (owner !== by.owner) throw claimed(of, owner);
    return commit(undefined);
  });
}

/** Null where nobody claims it. */
export async function ownerOf(session: Session, of: ProgressOwner): Promise<string | null> {
  const [row] = await session.texts(`SELECT owner FROM ${of.own.owners} WHERE ${ownerCondition(of)}`);
  return row?.[0] ?? null;
}

export function claimed({ pipeline, sink }: ProgressOwner, owner: string): CausewayError {
  return new CausewayError(
    'sink_claimed',
    `another deployment, owner ${owner}, has the sink ${sink} of the pipeline ${pipeline} in this database: give the pipeline or the sink ` +
      `a name of its own. Where that deployment is gone for good: \`causeway pipeline remove -p ${pipeline} --sink ${sink} --owner ${owner} --confirm ${pipeline}\``,
  );
}
