/** Every call of a port or of the Runtime that the product makes, as faults and coverage name it. */
export const sites = [
  'source.inspect',
  'source.provision',
  'source.open',
  'source.messages',
  'source.acknowledge',
  'source.heartbeat',
  'log.provision',
  'log.writer',
  'log.append',
  'log.reader',
  'log.assignments',
  'log.page',
  'log.commit',
  'log.ends',
  'log.read',
  'log.retain',
  'letters.park',
  'letters.release',
  'letters.readReleased',
  'letters.read',
  'control.get',
  'control.swap',
  'control.list',
  'control.remove',
  'sink.provision',
  'sink.evolve',
  'sink.differences',
  'sink.claim',
  'sink.assign',
  'sink.progress',
  'sink.apply',
  'sink.save',
  'sink.sweep',
  'sink.sweeps',
  'runtime.sleep',
  'runtime.monotonicMs',
  'runtime.wallMs',
  'runtime.random',
  'source.mark',
  'letters.take',
  'group.join',
  'group.sync',
  'group.heartbeat',
  'group.leave',
  'group.offsets',
  'letters.forget',
  // Of a sink that takes a batch row by row.
  'sink.look',
  'sink.read',
  'sink.put',
  'sink.step',
  'source.rows.mark',
  'source.rows.look',
  'source.rows.read',
] as const;

export type Site = (typeof sites)[number];

export type Port = 'source' | 'log' | 'control' | 'sink';

/**
 * What can go wrong with one call.
 * - crash_before, crash_after: the process dies before the request has an effect or after it; the call never returns.
 * - error: refused before any effect. lost_reply: the effect is there and the caller is told that the other side is unreachable.
 * - late: the caller is told so first, and the effect comes afterwards. duplicate: the effect comes once more, later.
 * - delay: request and reply take long.
 */
export const callFaultKinds = ['crash_before', 'crash_after', 'error', 'lost_reply', 'late', 'duplicate', 'delay'] as const;

export type CallFaultKind = (typeof callFaultKinds)[number];

const crashes: readonly CallFaultKind[] = ['crash_before', 'crash_after'];
const answers: readonly CallFaultKind[] = [...crashes, 'error', 'lost_reply', 'delay'];
const writes: readonly CallFaultKind[] = [...answers, 'late', 'duplicate'];
const reads: readonly CallFaultKind[] = [...crashes, 'error', 'delay'];

/** Which faults a call of the site can meet: a read has no effect that a reply could be lost of. */
export const faultsOf: Readonly<Record<Site, readonly CallFaultKind[]>> = {
  'source.inspect': reads,
  'source.provision': answers,
  'source.open': answers,
  'source.messages': reads,
  // Told without an answer: it can only arrive late, or never.
  'source.acknowledge': [...crashes, 'error', 'late'],
  'source.heartbeat': answers,
  'log.provision': reads,
  'log.writer': reads,
  'log.append': writes,
  'log.reader': reads,
  'log.assignments': reads,
  'log.page': reads,
  'log.commit': writes,
  'log.ends': reads,
  'log.read': reads,
  'log.retain': answers,
  'letters.park': writes,
  'letters.release': writes,
  'letters.readReleased': reads,
  'letters.read': reads,
  'control.get': reads,
  'control.swap': writes,
  'control.list': reads,
  'control.remove': answers,
  'sink.provision': answers,
  'sink.evolve': answers,
  'sink.differences': reads,
  'sink.claim': answers,
  'sink.assign': answers,
  'sink.progress': reads,
  'sink.apply': writes,
  'sink.save': writes,
  'sink.sweep': answers,
  'sink.sweeps': reads,
  'runtime.sleep': [...crashes, 'delay'],
  'runtime.monotonicMs': crashes,
  'runtime.wallMs': ['crash_before'],
  'runtime.random': crashes,
  'source.mark': answers,
  'letters.take': writes,
  'group.join': answers,
  'group.sync': answers,
  'group.heartbeat': answers,
  'group.leave': answers,
  'group.offsets': reads,
  'letters.forget': writes,
  'sink.look': reads,
  'sink.read': reads,
  'sink.put': writes,
  'sink.step': writes,
  'source.rows.mark': writes,
  'source.rows.look': reads,
  'source.rows.read': reads,
};

export const siteIndex: ReadonlyMap<Site, number> = new Map(sites.map((site, index) => [site, index]));
