import { CausewayError } from '#core/errors.ts';
import type { Role } from './sqlstate.ts';

export type IamTarget = { readonly host: string; readonly port: number; readonly user: string; readonly region: string };

/** What is used of `@aws-sdk/rds-signer`. */
export type RdsSigner = {
  readonly Signer: new (config: {
    readonly hostname: string;
    readonly port: number;
    readonly username: string;
    readonly region: string;
  }) => {
    getAuthToken(): Promise<string>;
  };
};

/** Loaded only where it is used: with its providers of credentials it is larger than the rest of a small daemon. */
async function loadSigner(): Promise<RdsSigner> {
  return await import('@aws-sdk/rds-signer');
}

/**
 * A token of Amazon RDS or Aurora in place of a password. It holds for 15 minutes and is looked at only while a connection comes
 * up ("Amazon RDS User Guide, IAM database authentication"), so each connection gets a new one. Credentials come from the AWS
 * SDK's default chain: environment, web identity, container, instance. Errors: `…_credentials` where there are none.
 */
export async function rdsToken(
  target: IamTarget,
  role: Role,
  signal: AbortSignal,
  load: () => Promise<RdsSigner> = loadSigner,
): Promise<string> {
  const { Signer } = await load();
  const signer = new Signer({ hostname: target.host, port: target.port, username: target.user, region: target.region });
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal.reason as Error);
  signal.addEventListener('abort', abort, { once: true });
  try {
    signal.throwIfAborted();
    return await Promise.race([signer.getAuthToken(), aborted.promise]);
  } catch (error) {
    signal.throwIfAborted();
    const reason = error instanceof Error ? error.name : 'unknown error';
    throw new CausewayError(`${role}_credentials`, `no IAM token could be made for ${target.user}: ${reason}`);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
