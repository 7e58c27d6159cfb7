import type { Sequence } from '#core/sequence.ts';
import type { Position } from '#core/position.ts';
import type { ApplyStatus } from '../../../src/apply/observer.ts';
import type { SinkCall } from '../../support/memory-sink.ts';
import type { Life } from '../life.ts';
import type { Release } from '../ports.ts';
import { AcknowledgedChecker } from './acknowledged.ts';
import { BoundsChecker } from './bounds.ts';
import { FinalChecker } from './final.ts';
import { LogReaderModel } from './log-reader.ts';
import { ParkedChecker } from './parked.ts';
import { ProgressChecker } from './progress.ts';
import { RecordsChecker } from './records.ts';
import { RegistersChecker } from './registers.ts';
import type { Scene } from './scene.ts';
import { type LostAtSink, WatermarkChecker } from './watermark.ts';

/** Tells each checker what concerns it. */
export class Checkers {
  readonly #scene: Scene;
  readonly #log: LogReaderModel;
  readonly #acknowledged: AcknowledgedChecker;
  readonly #records: RecordsChecker;
  readonly #registers: RegistersChecker;
  readonly #progress: ProgressChecker;
  readonly #watermark: WatermarkChecker;
  readonly #parked: ParkedChecker;
  readonly #bounds: BoundsChecker;
  /** The log itself lost records: what it holds proves nothing any more. */
  #logLost = false;

  constructor(scene: Scene) {
    this.#scene = scene;
    this.#log = new LogReaderModel(scene);
    this.#acknowledged = new AcknowledgedChecker(scene);
    this.#records = new RecordsChecker(scene, this.#log);
    this.#registers = new RegistersChecker(scene);
    this.#progress = new ProgressChecker(scene, this.#log);
    this.#watermark = new WatermarkChecker(scene, this.#log);
    this.#parked = new ParkedChecker(scene, this.#log);
    this.#bounds = new BoundsChecker(scene);
  }

  get logModel(): LogReaderModel {
    return this.#log;
  }

  told(position: Position): void {
    this.#acknowledged.told(position);
  }

  acknowledged(position: Position): void {
    if (!this.#logLost) this.#acknowledged.acknowledged(position);
  }

  appended(): void {
    if (this.#logLost) return;
    const fresh = this.#log.catchUp();
    const { database, truth } = this.#scene;
    // When the first record comes into the log nobody has moved the slot on.
    if (fresh.length > 0 && database.slot !== null) truth.begin(database.slot.position);
    for (const { partition, read } of fresh) {
      this.#acknowledged.appended(partition, read);
      this.#records.appended(partition, read);
    }
  }

  sinkCalled(sink: string, call: SinkCall): void {
    // An append that waits for room in between shows its records one by one.
    this.appended();
    switch (call.name) {
      case 'apply': {
        this.#bounds.batch(sink, call);
        for (const { key, schema } of call.rows) {
          this.#registers.changed(sink, schema.table, key);
          if (!this.#logLost) this.#records.applied(sink, schema.table, key);
        }
        if (call.progress !== null) this.#stored(sink, call.partition);
        return;
      }
      case 'save':
        this.#stored(sink, call.partition);
        return;
      case 'sweep':
      case 'evolve':
        for (const [table, { rows }] of this.#scene.sinks.get(sink)?.tables ?? [])
          for (const key of rows.keys()) this.#registers.changed(sink, table, key);
        return;
      case 'assign':
      case 'claim':
      case 'provision':
      case 'differences':
      case 'progress':
      case 'sweeps':
      case 'read':
      case 'report':
    }
  }

  committed(sink: string, partition: number, progress: Parameters<ProgressChecker['committed']>[2]): void {
    if (!this.#logLost) this.#progress.committed(sink, partition, progress);
  }

  released(sink: string, by: { readonly life: Life; readonly partition: number }, releases: readonly Release[]): void {
    this.appended();
    // By one that does not know yet that its write is gone: whoever takes the partition treats the key as parked.
    if (this.#logLost || !this.#watermark.isUnaware(sink, by.life, by.partition)) this.#parked.released(sink, releases, this.#logLost);
  }

  reported(sink: string, life: Life, ask: () => ApplyStatus): void {
    this.#watermark.reported(sink, life, ask);
  }

  assigned(sink: string, life: Life, partition: number): () => void {
    return this.#watermark.assigned(sink, life, partition);
  }

  sweepsRead(sink: string, life: Life): () => void {
    return this.#watermark.sweepsRead(sink, life);
  }

  progressRead(sink: string, life: Life): () => void {
    return this.#watermark.progressRead(sink, life);
  }

  hasBeenNoticed(sink: string): boolean {
    return this.#watermark.hasBeenNoticed(sink);
  }

  /** Whether the sink holds everything up to there. */
  isComplete(sink: string, upTo: Sequence): boolean {
    return this.#watermark.isComplete(sink, upTo);
  }

  queue(bytes: number, bytesMax: number): void {
    this.#bounds.queue(bytes, bytesMax);
  }

  sinkWentBack(sink: string, lives: readonly Life[], lost: LostAtSink): void {
    this.#registers.wentBack(sink);
    this.#progress.wentBack(sink);
    this.#watermark.wentBack(sink, lives, lost);
  }

  controlGoesBack(): void {
    this.#acknowledged.stored();
  }

  logLost(): void {
    this.#logLost = true;
  }

  /** Everything is still and nothing is owed. Returns how many keys are parked. */
  final(): number {
    return new FinalChecker(this.#scene, this.#parked).check();
  }

  #stored(sink: string, partition: number): void {
    const progress = this.#scene.sinks.get(sink)?.progress.get(partition);
    if (progress !== undefined && !this.#logLost) this.#progress.stored(sink, partition, progress);
  }
}
