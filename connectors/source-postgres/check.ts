import type { Finding } from '#core/finding.ts';
import type { PostgresSource } from './config.ts';
import type { Selection } from './selection.ts';

export async function checkSource(_source: PostgresSource, _selection: Selection, _signal: AbortSignal): Promise<readonly Finding[]> {
  return await Promise.resolve([]);
}
