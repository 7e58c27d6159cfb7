import { CausewayError } from '#core/errors.ts';
import type { Lease } from '../lease/lease.ts';
import { Checkpoint } from './checkpoint.ts';
import type { ControlAccess } from './control-rows.ts';
import type { CaptureDeps } from './deps.ts';
import type { FirstStart } from './first-start.ts';
import { leaveMark } from './lineage.ts';
import { openingRecords, readTail } from './open.ts';
import { OwnRecords } from './own-records.ts';
import { Publisher } from './publisher.ts';
import { Session } from './session.ts';
import { connectPatiently, StreamHolder } from './source-connection.ts';
import { Tables } from './tables.ts';

export type Signals = { readonly stop: AbortSignal; readonly kill: AbortSignal };

/**
 * Captures under one lease, from taking the slot until `stop`, or throws. Whatever it throws, slot and producer are dropped
 * when it has ended, and nothing of this generation is published any more.
 */
export async function runGeneration(deps: CaptureDeps, lease: Lease, signals: Signals): Promise<void> {
  const failure = new AbortController();
  const hard = AbortSignal.any([signals.kill, lease.ended, failure.signal]);
  const soft = AbortSignal.any([hard, signals.stop]);
  const start = prepare(deps, lease);
  deps.observer.state({ tag: 'starting', generation: lease.token });
  await deps.log.provision(soft);
  await start.tables.load(soft);
  const connected = await connectPatiently(start, { own: null, failures: 0 }, soft);
  const holder = new StreamHolder(connected.stream);
  try {
    const { ends, openLoads } = await readTail(start, { checkpoint: connected.checkpoint, epoch: connected.epoch }, soft);
    await leaveMark(start, soft);
    await using writer = await deps.log.writer(soft);
    const { encoder, batches } = openingRecords(start, connected);
    const own = new OwnRecords({ log: deps.log, codec: deps.codec, owner: start.owner, ends });
    const session = new Session({ start, connected, holder, encoder, own, openLoads, stop: signals.stop });
    const publisher = new Publisher({
      writer,
      runtime: deps.runtime,
      bytesMax: deps.options.pendingBytesMax,
      counters: () => encoder.counters(),
      confirm: (appended) => own.appended(appended, hard),
      onDurable: (durable) => session.durable(durable),
      onFailure: (error) => failure.abort(error),
      signal: hard,
    });
    session.publishTo(publisher);
    try {
      for (const encode of batches) session.deliver(encode());
      await publisher.drained();
      await session.run(hard);
    } finally {
      failure.abort(new CausewayError('log_unavailable', 'the generation ended'));
      if (!signals.kill.aborted) await publisher.ended();
    }
  } finally {
    await holder.drop();
  }
}

function prepare(deps: CaptureDeps, lease: Lease): FirstStart {
  const { source, observer, pipeline } = deps;
  const trouble = (error: unknown, during: string): void => observer.trouble(error, during);
  const access: ControlAccess = { control: deps.control, runtime: deps.runtime, trouble };
  const owner = { generation: lease.token, holder: lease.holder };
  return {
    deps,
    access,
    owner,
    checkpoint: new Checkpoint({ access, pipeline, owner, comparePositions: (a, b) => source.comparePositions(a, b) }),
    tables: new Tables({
      access,
      pipeline,
      observer,
      snapshotNever: deps.snapshotNever,
      compareFingerprints: (stored, current, truncatedBy) => source.compareFingerprints(stored, current, truncatedBy),
      comparePositions: (a, b) => source.comparePositions(a, b),
    }),
  };
}
