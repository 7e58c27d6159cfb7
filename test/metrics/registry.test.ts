import perfHooks from 'node:perf_hooks';
import { expect, test, vi } from 'vitest';
import { metricTable } from '../../src/metrics/names.ts';
import { createMetrics, type Metrics } from '../../src/metrics/registry.ts';

function metrics(): Metrics {
  return createMetrics({ version: '1.2.3', nodeVersion: 'v24', nodeDefaults: false });
}

async function samples(of: Metrics, name: string): Promise<readonly string[]> {
  return (await of.text()).split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
}

test('a gauge that nobody knows is absent, and one that is known no more disappears', async () => {
  const of = metrics();
  const known: { bytes: number | null } = { bytes: null };
  of.addGauges((set) => set('causeway_source_retained_bytes', { pipeline: 'a' }, known.bytes));
  expect(await samples(of, 'causeway_source_retained_bytes')).toEqual([]);
  known.bytes = 0;
  expect(await samples(of, 'causeway_source_retained_bytes')).toEqual(['causeway_source_retained_bytes{pipeline="a"} 0']);
  known.bytes = null;
  expect(await samples(of, 'causeway_source_retained_bytes')).toEqual([]);
});

test('a provider that is removed sets nothing more', async () => {
  const of = metrics();
  const remove = of.addGauges((set) => set('causeway_lease_held', { lease: 'a' }, 1));
  remove();
  expect(await samples(of, 'causeway_lease_held')).toEqual([]);
});

test('the build shows itself', async () => {
  expect(await samples(metrics(), 'causeway_build_info')).toEqual(['causeway_build_info{version="1.2.3",node_version="v24"} 1']);
});

test('counters and histograms keep what they were told', async () => {
  const of = metrics();
  of.count('causeway_changes_total', { pipeline: 'a', op: 'insert' }, 3);
  of.count('causeway_changes_total', { pipeline: 'a', op: 'insert' });
  of.observe('causeway_end_to_end_lag_seconds', { pipeline: 'a', sink: 's' }, 0.3);
  expect(await samples(of, 'causeway_changes_total')).toEqual(['causeway_changes_total{pipeline="a",op="insert"} 4']);
  expect(await of.text()).toContain('causeway_end_to_end_lag_seconds_bucket{le="0.5",pipeline="a",sink="s"} 1');
  expect(await of.text()).toContain('causeway_end_to_end_lag_seconds_bucket{le="0.25",pipeline="a",sink="s"} 0');
});

test('labels without end do not take memory without end', async () => {
  const of = metrics();
  for (let index = 0; index < 3_000; index += 1) of.count('causeway_changes_total', { pipeline: `p${index}`, op: 'insert' });
  expect((await samples(of, 'causeway_changes_total')).length).toBe(2_000);
});

test('names follow the rules: a prefix, base units, and _total exactly for counters', () => {
  for (const [name, { type, help }] of Object.entries(metricTable)) {
    expect(name).toMatch(/^causeway_[a-z0-9_]+$/);
    expect([name, name.endsWith('_total')]).toEqual([name, type === 'counter']);
    if (type === 'histogram') expect(name).toMatch(/_seconds$/);
    expect(name).not.toMatch(/_(ms|millis|kb|mb)(_|$)/);
    expect(help).toMatch(/\.$/);
  }
});

test('how late timers come is told for the time since the last scrape, and costs no timer of its own', async () => {
  const monitored = vi.spyOn(perfHooks, 'monitorEventLoopDelay');
  const of = createMetrics({ version: '1', nodeVersion: 'v24', nodeDefaults: true });
  const figures = async (): Promise<Readonly<Record<string, number>>> => {
    const lines = (await of.text()).matchAll(/^nodejs_eventloop_lag_([a-z0-9]+)_seconds (.+)$/gm);
    return Object.fromEntries([...lines].map(([, figure, value]): [string, number] => [figure ?? '', Number(value)]));
  };
  expect(monitored.mock.calls).toEqual([[{ resolution: 2 ** 31 - 1 }]]);
  monitored.mockRestore();
  expect(await figures()).toEqual({});
  for (let timer = 0; timer < 99; timer += 1) of.timerLate(2);
  of.timerLate(500);
  const { max, mean, p50, p90, p99 } = await figures();
  expect([p50, p90, p99].map((value) => value?.toFixed(3))).toEqual(['0.002', '0.002', '0.002']);
  expect([max, mean].map((value) => value?.toFixed(2))).toEqual(['0.50', '0.01']);
  of.timerLate(1);
  expect((await figures())['max']?.toFixed(3)).toBe('0.001');
  expect(await figures()).toEqual({});
});
