// Schedules that break a careless version of the design, each written out as a plan. Numbers are those of the list of
// counterexamples that docs/testing.md maps to tests.
import { describe, expect, test } from 'vitest';
import type { Fault, PlannedOp, PlannedTransaction } from './plan.ts';
import { call, EVERY_MS, figure, partial, put, remove, settles, steadily, stops, transactions } from './script.ts';

describe('capture', () => {
  for (const clock of ['runs', 'stands'] as const) {
    test(`1: a holder wakes after another took over, its clock ${clock}, and what it adds and acknowledges harms nothing`, async () => {
      const faults: readonly Fault[] = [{ tag: 'pause', daemon: 0, atMs: 3_000, forMs: 6_000, clock }];
      const outcome = await settles({ daemons: 2, transactions: steadily(12), faults });
      // One whose clock ran finds that its time is over, and stands by. The other takes its lease for fresh until it is told, and ends.
      expect(outcome.coverage.faults.get('exit 6')).toBe(clock === 'stands' ? 1 : undefined);
    });
  }

  test('1: a holder that was held between taking the slot and reading the log finds that another took over, and nothing worse', async () => {
    const faults: readonly Fault[] = [
      // The look that proves, with the slot in hand, that nobody had it in between.
      call('delay', 'source.inspect', { daemon: 0, afterMs: 0, skip: 3, ms: 400 }),
      { tag: 'pause', daemon: 0, atMs: 200, forMs: 9_000, clock: 'stands' },
    ];
    const outcome = await settles({ daemons: 2, transactions: steadily(6), faults });
    expect(outcome.coverage.faults.get('exit 6')).toBe(1);
  });

  test('1: a holder that was held in its first start finds that another took over, and drops nothing of it', async () => {
    const faults: readonly Fault[] = [
      call('delay', 'source.provision', { afterMs: 0, ms: 400 }),
      { tag: 'pause', daemon: 0, atMs: 200, forMs: 9_000, clock: 'stands' },
    ];
    const outcome = await settles({ daemons: 2, transactions: steadily(6), faults });
    expect(outcome.coverage.faults.get('exit 6')).toBe(1);
  });

  test('1: a holder that wakes while its successor takes the slot acknowledges nothing behind the checkpoint that the other has read', async () => {
    // It has some time before it renews its lease, and the clients have gone on.
    for (const atMs of [3_150, 3_450, 3_750]) {
      const faults: readonly Fault[] = [
        { tag: 'pause', daemon: 0, atMs, forMs: 5_000, clock: 'stands' },
        call('delay', 'source.open', { daemon: 1, afterMs: 0, ms: 4_000 }),
      ];
      const outcome = await settles({ daemons: 2, transactions: steadily(12), faults });
      expect(outcome.coverage.faults.get('exit 6')).toBe(1);
    }
  });

  test('1: what a superseded generation adds late counts for nothing until its successor has sent it again', async () => {
    for (const ms of [800, 1_500, 2_500]) {
      const faults: readonly Fault[] = [
        call('late', 'log.append', { afterMs: 3_000, ms }),
        call('delay', 'source.messages', { afterMs: 3_150, ms: 4_000 }),
      ];
      await settles({ transactions: steadily(8), faults });
    }
  });

  test('5: sends that come twice, late, or not, at any time of a generation', async () => {
    for (const kind of ['duplicate', 'late', 'lost_reply', 'error', 'crash_before', 'crash_after'] as const) {
      for (const skip of [0, 1, 2, 9]) {
        await settles({ transactions: steadily(4), faults: [call(kind, 'log.append', { afterMs: 0, skip, ms: 1_500 })] });
      }
    }
  });

  test('11: a control store that is lost stops everything before anything is published as old', async () => {
    // Between a save of the checkpoint and a renewal of the lease, which is then the first to notice: the process that starts anew meets it all.
    const codes = await stops({ transactions: steadily(8), faults: [{ tag: 'control_lost', atMs: 4_003 }] });
    expect(codes).toContain('sink_unknown_progress');
    expect(codes.some((code) => code === 'generation_behind' || code === 'checkpoint_lost')).toBe(true);
  });

  test('2: a slot goes back and leaves that stretch again in the middle: an older change is no base for a newer partial one', async () => {
    const at = (atMs: number, ...ops: readonly PlannedOp[]): PlannedTransaction => ({ atMs, shared: false, ops });
    const others = (fromMs: number): readonly PlannedTransaction[] =>
      Array.from({ length: 20 }, (_, index) => at(fromMs + index * 10, put(index % 7, { table: 1 })));
    let restarts = 0;
    // A narrow thing: the checkpoint has to be acknowledged between the two breaks, and the second one to come before all was sent again.
    for (const [from, firstMs, secondMs, pendingBytesMax] of [
      [90, 3_070, 3_775, 600],
      [60, 3_070, 3_775, 1_200],
      [80, 3_080, 3_795, 2_400],
      [280, 3_280, 4_010, 300],
      [340, 3_310, 4_015, 1_200],
      [530, 3_580, 4_300, 2_400],
    ] as const) {
      for (const offMs of [-5, 0, 5]) {
        const outcome = await settles({
          partitions: 1,
          transactions: [
            ...others(from + 2_400),
            at(from + 2_610, put(1)),
            ...others(from + 2_620),
            at(from + 2_830, put(1)),
            at(from + 3_050, partial(1)),
          ],
          faults: [
            { tag: 'source_restart', atMs: firstMs, forMs: 600, slotBack: true },
            { tag: 'source_restart', atMs: secondMs + offMs, forMs: 150, slotBack: false },
            // So that what was sent before and after the second break is folded together.
            { tag: 'slow_sink', sink: 'warm', atMs: from + 3_000, forMs: 3_000, ms: 900 },
          ],
          limits: { batchRowsMax: 500, pendingBytesMax, readAheadBytesMax: 1_000_000 },
        });
        restarts += outcome.coverage.faults.get('source_restart') ?? 0;
      }
    }
    expect(restarts).toBe(36);
  });

  test('19: a slot that somebody moves while it is taken skips nothing', async () => {
    for (const atMs of [2_300, 2_500, 2_700, 2_900]) {
      const codes = await stops({
        transactions: steadily(4),
        faults: [{ tag: 'stop', daemon: 0, atMs: 2_000, ms: 100 }, call('delay', 'source.open', { ms: 600 }), { tag: 'slot_ahead', atMs }],
      });
      expect(codes).toContain('source_slot_lost');
    }
  });

  test('13: a row that cannot be published stops nothing but its key', async () => {
    const outcome = await settles({
      transactions: transactions([put(1), put(2)], [{ op: 'unreadable', table: 0, key: 1 }], [put(2), put(3)]),
    });
    expect(figure(outcome, 'parked keys at the end')).toBe(1);
  });

  test('13: a row that is too large for a record parks its key until the next whole image, and nothing else', async () => {
    const faults: readonly Fault[] = [{ tag: 'row_too_large', atMs: 1_000, table: 0, key: 1 }];
    const before = transactions([put(1), put(2)]);
    const after = (op: PlannedOp): PlannedTransaction => ({ atMs: 3_000, shared: false, ops: [op, put(2)] });
    for (const [op, parked] of [
      [put(3), 1],
      [partial(1), 1],
      [put(1), 0],
      [remove(1), 0],
    ] as const) {
      const outcome = await settles({ transactions: [...before, after(op)], faults });
      expect(outcome.coverage.faults.get('row_too_large')).toBe(1);
      expect(figure(outcome, 'parked keys at the end')).toBe(parked);
    }
  });

  test('30: a log at its limit waits for the sink that stays behind, and goes on without anybody', async () => {
    for (const bytes of [2_000, 4_000, 12_000]) {
      const faults: readonly Fault[] = [
        { tag: 'partition', daemon: 0, port: 'sink', atMs: 1_500, forMs: 5_000 },
        { tag: 'log_limit', atMs: 1_500, forMs: 60_000, bytes },
      ];
      const outcome = await settles({ transactions: steadily(6), faults });
      expect(outcome.coverage.faults.get('log_limit')).toBe(1);
      expect(figure(outcome, 'log limit relieved by the sinks')).toBe(1);
      expect([...outcome.coverage.faults.keys()].filter((name) => name.startsWith('exit'))).toEqual([]);
    }
  });

  test('30: a log at its limit whose sink does not come back goes on once the operator raises it', async () => {
    const faults: readonly Fault[] = [
      { tag: 'partition', daemon: 0, port: 'sink', atMs: 1_500, forMs: 20_000 },
      { tag: 'log_limit', atMs: 1_500, forMs: 10_000, bytes: 4_000 },
    ];
    const outcome = await settles({ transactions: steadily(6), faults });
    expect(figure(outcome, 'log limit relieved by the operator')).toBe(1);
  });

  test('1: a worker that wakes after the log freed what its successor has behind it takes that for no loss', async () => {
    // Nothing is in hand when it is held, and much is written before it wakes.
    const late = steadily(4).map((each) => ({ ...each, atMs: each.atMs + 8_000 }));
    const faults: readonly Fault[] = [
      { tag: 'pause', daemon: 0, atMs: 4_000, forMs: 9_000, clock: 'stands' },
      { tag: 'log_limit', atMs: 4_500, forMs: 20_000, bytes: 4_000 },
    ];
    const outcome = await settles({ daemons: 2, transactions: [...steadily(2), ...late], faults });
    expect(outcome.coverage.faults.get('exit 6')).toBe(1);
  });

  for (const port of ['source', 'log', 'sink'] as const) {
    test(`30: an outage of ${port === 'log' ? 'the log' : `the ${port}`} is ridden out by the same process, however long it takes`, async () => {
      const faults: readonly Fault[] = [{ tag: 'partition', daemon: 0, port, atMs: 2_000, forMs: 90_000 }];
      const outcome = await settles({ transactions: steadily(4), faults });
      expect([...outcome.coverage.faults.keys()].filter((name) => name.startsWith('exit'))).toEqual([]);
    });
  }

  test('44: hosts whose clocks are hours off change nothing', async () => {
    const hours = 3_600_000;
    const clocks = [
      { rate: 1, wallSkewMs: 2 * hours },
      { rate: 1, wallSkewMs: -5 * hours },
    ];
    const faults: readonly Fault[] = [{ tag: 'pause', daemon: 0, atMs: 3_000, forMs: 6_000, clock: 'runs' }];
    await settles({ daemons: 2, clocks, transactions: steadily(8), faults });
  });

  test('32: a control store that went back gives a generation out twice, which is noticed', async () => {
    const faults: readonly Fault[] = [
      call('crash_before', 'control.swap', { afterMs: 3_000, ms: 200 }),
      { tag: 'control_back', keptMs: 2_500, atMs: 8_000 },
    ];
    const codes = await stops({ transactions: steadily(12), faults });
    expect(codes.length).toBeGreaterThan(0);
  });

  test('32: a control store that went back makes a superseded holder the holder again, which finds its successor in the log', async () => {
    // The successor stores its checkpoint once more, and loses its lease, before the other one wakes.
    for (const atMs of [8_350, 8_750, 8_950]) {
      const faults: readonly Fault[] = [
        { tag: 'pause', daemon: 0, atMs: 3_000, forMs: 6_250, clock: 'stands' },
        { tag: 'control_back', keptMs: 2_990, atMs },
      ];
      expect(await stops({ daemons: 2, transactions: steadily(12), faults })).toContain('generation_behind');
    }
  });

  test('32: a control store that went back shows the schema again that a sink waits for', async () => {
    const ops = (atMs: number, ...of: readonly PlannedOp[]): PlannedTransaction => ({ atMs, shared: false, ops: of });
    for (const atMs of [4_250, 4_400, 4_500]) {
      const outcome = await settles({
        transactions: [
          ops(1_000, { op: 'add_column', table: 0 }, put(1)),
          ops(4_000, { op: 'drop_column', table: 0 }, put(1)),
          ops(4_100, { op: 'add_column', table: 0 }, put(2)),
        ],
        faults: [{ tag: 'control_back', keptMs: 3_000, atMs }],
      });
      expect(figure(outcome, 'schemas approved')).toBeGreaterThan(0);
    }
  });

  test('40: a log that was cut off is noticed by whoever reads or opens it', async () => {
    const codes = await stops({ daemons: 2, transactions: steadily(8), faults: [{ tag: 'log_tail_lost', atMs: 4_000 }] });
    expect(codes.some((code) => ['log_truncated', 'log_gap', 'log_offset_gone'].includes(code))).toBe(true);
  });
});

describe('apply', () => {
  test('26: a parked key holds up neither the position nor a truncate, nor does a truncate wait for the key', async () => {
    const rows = Array.from({ length: 20 }, (_, key) => put(key));
    const kept = await settles({ transactions: transactions([put(1, { refused: true })], rows.slice(2), [remove(3)], [put(4)]) });
    expect(figure(kept, 'parked keys at the end')).toBe(1);
    const released = await settles({
      transactions: transactions([put(1, { refused: true })], rows.slice(2), [{ op: 'truncate', tables: [0] }], [put(4)]),
    });
    expect(figure(released, 'parked keys at the end')).toBe(0);
  });

  test('30: two that take the partitions from each other end neither process', async () => {
    const faults = [0, 1].flatMap((daemon): readonly Fault[] =>
      [1, 2, 3].map((round) => ({ tag: 'partition', daemon, port: 'sink', atMs: round * 2_000 + daemon * 700, forMs: 900 })),
    );
    const outcome = await settles({ daemons: 2, applyEverywhere: true, transactions: steadily(8), faults });
    expect([...outcome.coverage.faults.keys()].filter((name) => name.startsWith('exit'))).toEqual([]);
  });

  test('20, 30: two that take the partitions from each other while the sink goes back both know in the end how far it is', async () => {
    const faults: readonly Fault[] = [
      { tag: 'control_down', atMs: 2_306, forMs: 1_869 },
      { tag: 'pause', daemon: 0, atMs: 2_904, forMs: 8_723, clock: 'stands' },
      { tag: 'log_full', atMs: 11_431, forMs: 1_241 },
      { tag: 'sink_back', sink: 'warm', keptMs: 9_061, atMs: 12_506 },
    ];
    // How long each call takes decides who notices first: in about one seed of five it matters.
    for (let seed = 1; seed <= 30; seed += 1) {
      await settles({
        seed,
        daemons: 2,
        applyEverywhere: true,
        limits: { batchRowsMax: 500, pendingBytesMax: 1_000_000, readAheadBytesMax: 500 },
        transactions: [
          { atMs: 9_138, shared: true, ops: [put(8, { table: 1 })] },
          { atMs: 9_161, shared: false, ops: [put(4, { table: 1 })] },
        ],
        faults,
      });
    }
  });

  for (const batchRowsMax of [1, 2, 500]) {
    test(`2: partial images fold over what stands before them, in batches of ${batchRowsMax}`, async () => {
      const limits = { batchRowsMax, pendingBytesMax: 1_000_000, readAheadBytesMax: 1_000_000 };
      const again = transactions([put(1)], [put(1)], [partial(1)], [partial(1), put(1), partial(1)], [remove(1)], [put(1)], [partial(1)]);
      const slow: Fault = { tag: 'slow_sink', sink: 'warm', atMs: 0, forMs: 3_000, ms: 400 };
      const outcome = await settles({ limits, transactions: again, faults: [slow, call('lost_reply', 'sink.apply', { afterMs: 0 })] });
      expect(figure(outcome, 'parked keys at the end')).toBe(0);
    });
  }

  test('2d: a row under another key without all its columns is parked there, over a row that a truncate left behind too, and repaired by itself', async () => {
    const moved: PlannedOp = { op: 'rekey', table: 0, key: 1, to: 2, partial: true };
    const slow: Fault = { tag: 'slow_sink', sink: 'warm', atMs: 0, forMs: 5_000, ms: 300 };
    const outcome = await settles({
      transactions: transactions([put(2)], [{ op: 'truncate', tables: [0] }, put(1)], [moved]),
      faults: [slow],
    });
    expect(figure(outcome, 'keys released')).toBe(1);
    expect(figure(outcome, 'parked keys at the end')).toBe(0);
  });

  test('3: truncates with partitions far apart', async () => {
    const rows = Array.from({ length: 30 }, (_, key) => put(key));
    const truncate: PlannedOp = { op: 'truncate', tables: [0] };
    for (const ms of [100, 700]) {
      await settles({
        limits: { batchRowsMax: 1, pendingBytesMax: 1_000_000, readAheadBytesMax: 500 },
        transactions: transactions(rows, [truncate], rows, [put(99)], [truncate], [put(1)]),
        faults: [
          { tag: 'slow_sink', sink: 'warm', atMs: 100, forMs: 4_000, ms },
          call('crash_before', 'sink.sweep', { afterMs: 0 }),
          call('delay', 'sink.apply', { afterMs: 100, ms: 3_000 }),
        ],
      });
    }
  });

  test('3: what a partition still has before a truncate that the others passed is swept too', async () => {
    for (const key of [1, 2, 3, 4]) {
      await settles({
        transactions: transactions([put(key)], [{ op: 'truncate', tables: [0] }], [put(9)]),
        faults: [call('delay', 'sink.apply', { afterMs: 0, ms: 4_000 })],
      });
    }
  });

  test('3, 26: a truncate releases a parked key before the progress has passed either, and sweeps later', async () => {
    for (const afterMs of [60, 120, 200, 400]) {
      const outcome = await settles({
        transactions: [
          { atMs: 3_700, shared: false, ops: [put(22, { refused: true })] },
          { atMs: 3_700 + afterMs, shared: false, ops: [{ op: 'truncate', tables: [0] }] },
        ],
        faults: [call('error', 'sink.sweep', { afterMs: 0 })],
      });
      expect(figure(outcome, 'parked keys at the end')).toBe(0);
    }
  });

  test('20: a sink goes back to before the write that a held worker takes for done, and releases a key for', async () => {
    const at = (atMs: number, op: PlannedOp): PlannedTransaction => ({ atMs, shared: false, ops: [op] });
    const outcome = await settles({
      transactions: [at(1_000, put(1, { refused: true })), at(3_500, put(1)), at(4_000, put(2))],
      faults: [
        { tag: 'slow_sink', sink: 'warm', atMs: 3_450, forMs: 3_000, ms: 400 },
        { tag: 'pause', daemon: 0, atMs: 3_750, forMs: 4_000, clock: 'runs' },
        { tag: 'sink_back', sink: 'warm', keptMs: 3_440, atMs: 5_000 },
      ],
    });
    expect(outcome.coverage.faults.get('sink_back')).toBe(1);
    expect(figure(outcome, 'parked keys at the end')).toBe(0);
  });

  test('4, 20: a sink goes back under its worker, by one batch and by many', async () => {
    for (const backMs of [1, 40, 300, 2_500]) {
      const faults: readonly Fault[] = [{ tag: 'sink_back', sink: 'warm', keptMs: 3_000, atMs: 3_000 + backMs }];
      await settles({ transactions: steadily(6), faults, limits: { batchRowsMax: 1, pendingBytesMax: 1_000_000, readAheadBytesMax: 500 } });
    }
  });

  test('3, 20: a sink goes back to between a truncate that released a key and its sweep', async () => {
    const at = (atMs: number, ...ops: readonly PlannedOp[]): PlannedTransaction => ({ atMs, shared: false, ops });
    const others = [0, 2, 3, 4, 5, 6, 7, 8].map((key) => put(key));
    for (let keptMs = 2_060; keptMs <= 2_220; keptMs += 20) {
      const outcome = await settles({
        transactions: [
          at(1_000, put(1)),
          at(1_100, put(1, { refused: true })),
          at(1_900, { op: 'truncate', tables: [0] }),
          ...Array.from({ length: 60 }, (_, index) => at(2_000 + index * EVERY_MS, ...others)),
        ],
        faults: [
          { tag: 'sink_back', sink: 'warm', keptMs, atMs: 5_000 },
          // So that it is behind the truncate and ahead of the sweep for long enough to be looked at.
          { tag: 'slow_sink', sink: 'warm', atMs: 5_000, forMs: 4_000, ms: 200 },
        ],
        limits: { batchRowsMax: 1, pendingBytesMax: 1_000_000, readAheadBytesMax: 1_000_000 },
      });
      expect(outcome.coverage.faults.get('sink_back')).toBe(1);
    }
  });

  test('3, 20: a sink goes back to before a truncate while it is swept: the sweep does not count', async () => {
    for (let atMs = 3_000; atMs <= 3_300; atMs += 10) {
      const outcome = await settles({
        transactions: [
          { atMs: 1_463, shared: false, ops: [put(5)] },
          { atMs: 2_147, shared: false, ops: [{ op: 'truncate', tables: [0] }] },
        ],
        faults: [
          { tag: 'slow_sink', sink: 'warm', atMs: 2_104, forMs: 3_596, ms: 116 },
          { tag: 'sink_back', sink: 'warm', keptMs: 1_505, atMs },
        ],
      });
      expect(outcome.coverage.faults.get('sink_back')).toBe(1);
    }
  });

  test('14, 29: parked keys over hand-overs between two that apply at once', async () => {
    const ops = Array.from({ length: 120 }, (_, index): readonly PlannedOp[] => {
      const key = index % 5;
      return [index % 4 === 0 ? put(key, { refused: true }) : index % 4 === 3 && index > 60 ? put(key) : partial(key)];
    });
    for (const site of ['letters.park', 'letters.release', 'letters.read', 'sink.save', 'sink.assign'] as const) {
      for (const kind of ['crash_before', 'crash_after', 'lost_reply'] as const) {
        if (site === 'letters.read' && kind === 'lost_reply') continue;
        const faults: readonly Fault[] = [
          call(kind, site, { afterMs: 500, skip: 2 }),
          call(kind, site, { daemon: 1, afterMs: 2_500 }),
          { tag: 'pause', daemon: 1, atMs: 1_500, forMs: 2_500, clock: 'runs' },
        ];
        await settles({ daemons: 2, applyEverywhere: true, transactions: transactions(...ops), faults });
      }
    }
  });

  test('29: what a worker parks or releases comes late or twice, to its successor too', async () => {
    const ops = Array.from({ length: 120 }, (_, index): readonly PlannedOp[] => [
      put(index % 5, { refused: index % 4 === 0 && index < 100 }),
    ]);
    for (const site of ['letters.park', 'letters.release', 'letters.take'] as const) {
      for (const [kind, ms] of [
        ['late', 40],
        ['late', 1_200],
        ['duplicate', 40],
        ['duplicate', 1_200],
        ['delay', 3_000],
      ] as const) {
        const faults: readonly Fault[] = [
          { ...call(kind, site, { afterMs: 500 }), ms },
          { ...call(kind, site, { afterMs: 500, skip: 3 }), ms },
          call('crash_after', 'sink.apply', { afterMs: 510, skip: 4 }),
        ];
        const outcome = await settles({
          transactions: transactions(...ops),
          faults,
          limits: { batchRowsMax: 1, pendingBytesMax: 4_000, readAheadBytesMax: 5_000 },
        });
        expect(figure(outcome, 'parked keys at the end')).toBe(0);
      }
    }
  });

  test('29: more parked keys than the sink may have stop it, and it goes on where it may have more', async () => {
    const ops = Array.from({ length: 60 }, (_, index): readonly PlannedOp[] => [put(index % 9, { refused: index % 9 < 5 })]);
    const faults: readonly Fault[] = [{ tag: 'parked_keys_max', keysMax: 2, atMs: 100, forMs: 6_000 }];
    const outcome = await settles({ transactions: transactions(...ops), faults });
    expect(figure(outcome, 'state parked_keys_max')).toBeGreaterThan(0);
    expect(figure(outcome, 'parked keys at the end')).toBe(5);
  });

  test('30: a log that cannot say which partitions come next ends no partition for ever', async () => {
    for (const skip of [0, 1, 2]) {
      await settles({ transactions: steadily(2), faults: [call('error', 'log.assignments', { afterMs: 0, skip })] });
    }
  });

  test('27: a sink that loses its progress while another worker holds a partition, or held it, is noticed', async () => {
    const faults: readonly Fault[] = [
      { tag: 'partition', daemon: 0, port: 'control', atMs: 432, forMs: 5_282 },
      { tag: 'sink_progress_lost', sink: 'warm', atMs: 6_898 },
    ];
    expect(await stops({ daemons: 2, transactions: steadily(1), faults })).toContain('sink_unknown_progress');
  });

  test('27: a new sink whose worker dies before its first progress, at every step', async () => {
    for (const site of ['sink.progress', 'sink.assign', 'sink.save', 'control.swap'] as const) {
      for (const skip of [0, 1, 2, 3, 4]) {
        await settles({ transactions: steadily(2), faults: [call('crash_after', site, { afterMs: 0, skip })] });
      }
    }
  });
});
