import { CausewayError } from '#core/errors.ts';
import { connectors } from '../../connectors/registry.ts';
import { runDaemon } from '../runtime/daemon.ts';
import type { Role } from '../runtime/pipeline-state.ts';
import { loadedConfig, type CommandContext } from './context.ts';
import { versionText } from './version.ts';

export async function run(context: CommandContext, options: { readonly role: string }): Promise<number> {
  const config = await loadedConfig(context);
  const roles = options.role.split(',').map((role): Role => {
    if (role === 'capture' || role === 'apply') return role;
    throw new CausewayError('usage', `--role ${role} is not known; write capture, apply, or both with a comma`);
  });
  return await runDaemon({ config, connectors, roles: [...new Set(roles)], version: versionText() });
}
