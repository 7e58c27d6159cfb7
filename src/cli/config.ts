import { existsSync, writeFileSync } from 'node:fs';
import { stringify } from 'yaml';
import { CausewayError } from '#core/errors.ts';
import { connectors } from '../../connectors/registry.ts';
import { fullJsonSchema } from '../config/json-schema.ts';
import { initialConfig } from '../config/initial.ts';
import { load, type CommandContext } from './context.ts';
import { printJson } from './io.ts';

export async function validate(context: CommandContext): Promise<number> {
  const { config } = await load(context);
  const pipelines = config.pipelines.map(({ name, sinks }) => ({ name, sinks: sinks.map((sink) => sink.name) }));
  if (context.options.output === 'json') printJson(context.io, 'ConfigValidation', { file: config.file, valid: true, pipelines });
  else context.io.stderr(`${config.file} is valid: ${pipelines.map(({ name, sinks }) => `${name} → ${sinks.join(', ')}`).join('; ')}\n`);
  return 0;
}

/** What is in effect, defaults included, without secrets. */
export async function print(context: CommandContext): Promise<number> {
  const { printable } = await load(context);
  context.io.stdout(context.options.output === 'json' ? `${JSON.stringify(printable, null, 2)}\n` : stringify(printable));
  return 0;
}

export async function schema({ io }: CommandContext): Promise<number> {
  io.stdout(`${JSON.stringify(await fullJsonSchema(connectors), null, 2)}\n`);
  return 0;
}

export function init(context: CommandContext, options: { readonly force?: boolean }): Promise<number> {
  const { config: file } = context.options;
  if (existsSync(file) && options.force !== true) {
    throw new CausewayError('refused', `${file} is there already; --force overwrites it, --config writes another file`);
  }
  writeFileSync(file, initialConfig);
  context.io.stderr(
    `wrote ${file}. Set SOURCE_URL and SINK_URL (or edit the file), then:\n  causeway config validate -c ${file}\n  causeway check -c ${file}\n  causeway run -c ${file}\n`,
  );
  return Promise.resolve(0);
}
