import { CausewayError } from '#core/errors.ts';
import type { Role } from './sqlstate.ts';

/** A token of Amazon RDS, valid for 15 minutes: it is only checked when a connection comes up. */
export async function rdsToken(
  _target: { readonly host: string; readonly port: number; readonly user: string; readonly region: string },
  role: Role,
  _signal: AbortSignal,
): Promise<string> {
  return await Promise.reject(new CausewayError(`${role}_misconfigured`, 'IAM login is not built in yet'));
}
