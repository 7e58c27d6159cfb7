// The order in which a run takes its files. A fresh checkout knows no durations, and Vitest then goes by the size of the files: a run's last
// minutes would belong to small files that drive whole clusters, with one processor idle.
import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * Files that take 25 seconds or more, in the order in which they start. Those with daemons and brokers of their own stand apart from each
 * other, so that four at once do not ask for all of the machine at the same time.
 */
const startFirst = [
  'gauntlet',
  'sink-postgres-faults',
  'log-kafka-read',
  'sink-dynamodb-faults',
  'postgres-values',
  'rolling-update',
  'sink-postgres',
  'crash',
  'postgres-stream-connection',
  'daemon-reconcile-resume',
  'daemon-lost',
  'daemon-reconcile-sinks',
  'sink-spanner',
  'control-postgres',
  'daemon-data',
  'sink-dynamodb',
  'log-kafka-stale',
  'daemon',
  'accounting-spanner',
  'log-kafka-outage',
  'daemon-two-deployments',
  'quickstart',
  'package',
].map((name) => `test/integration/${name}.test.ts`);

const root = join(import.meta.dirname, '..');

/** Long files, other integration files, which mostly wait, and last what needs no server: it fills the gaps that the long ones leave. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const gone = startFirst.filter((path) => !existsSync(join(root, path)));
    if (gone.length > 0) throw new Error(`test/longest-first.ts names files that are not there: ${gone.join(', ')}`);
    const place = (file: TestSpecification): number => {
      const at = startFirst.indexOf(relative(root, file.moduleId));
      if (at !== -1) return at;
      return file.project.name === 'integration' ? startFirst.length : startFirst.length + 1;
    };
    return (await super.sort(files)).sort((one, other) => place(one) - place(other));
  }
}
