import type { Finding } from '#core/finding.ts';
import type { TableSchema } from '#core/schema.ts';
import type { ProvisionInput } from './provision.ts';
import type { Session } from './session.ts';
export async function checkSink(
  _session: Session,
  _schemas: readonly TableSchema[],
  _input: ProvisionInput & { connections: number; mode: 'create' | 'check' },
): Promise<Finding[]> {
  return [];
}
