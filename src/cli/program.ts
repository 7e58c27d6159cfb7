import { Command, CommanderError, Option } from 'commander';
import { CausewayError, codeOf, policyFor } from '#core/errors.ts';
import { exitCodeOf } from '../runtime/supervisor.ts';
import { contextOf, type CommandContext, type GlobalOptions } from './context.ts';
import type { Io } from './io.ts';
import { reconcileCommands } from './reconcile-commands.ts';
import type { SnapshotOptions } from './snapshot.ts';

type Work = (context: CommandContext) => Promise<number>;

/**
 * Runs one command line and returns its exit code. Each command is imported only when it is run, so that `causeway version`
 * does not load the database drivers.
 */
export async function runCommandLine(argv: readonly string[], io: Io): Promise<number> {
  const result = { code: 0 };
  const program = createProgram(io, async (command, work) => {
    const options = command.optsWithGlobals<GlobalOptions>();
    try {
      result.code = await work(contextOf(io, options));
    } catch (error) {
      result.code = explain(error, io, options);
    }
  });
  try {
    await program.parseAsync([...argv], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help and version end this way too, with the code 0.
    return error.exitCode === 0 ? 0 : 2;
  }
  return result.code;
}

/** Every command with its words. */
export function commandPaths(): ReadonlySet<string> {
  const silent: Io = { stdout: () => undefined, stderr: () => undefined, env: {}, signal: new AbortController().signal };
  const walk = (command: Command, path: readonly string[]): readonly string[] =>
    command.commands.flatMap((child) => {
      const here = [...path, child.name()];
      return child.commands.length === 0 ? [here.join(' ')] : walk(child, here);
    });
  return new Set(
    walk(
      createProgram(silent, () => Promise.resolve()),
      [],
    ),
  );
}

/**
 * What is wrong with a command line that the documentation shows: a word or an option that does not exist, a word too many. Null
 * where there is nothing; a value or an option may be missing, as a text often only names a command.
 */
export async function misunderstood(argv: readonly string[]): Promise<string | null> {
  const silent: Io = { stdout: () => undefined, stderr: () => undefined, env: {}, signal: new AbortController().signal };
  try {
    await createProgram(silent, () => Promise.resolve()).parseAsync([...argv], { from: 'user' });
    return null;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    const open = [
      'commander.optionMissingArgument',
      'commander.missingArgument',
      'commander.missingMandatoryOptionValue',
      'commander.help',
      'commander.helpDisplayed',
    ];
    return open.includes(error.code) ? null : error.message;
  }
}

function explain(error: unknown, io: Io, { verbose, output }: GlobalOptions): number {
  if (io.signal.aborted && !(error instanceof CausewayError)) {
    io.stderr('interrupted\n');
    return 1;
  }
  const code = codeOf(error);
  const { meaning, mend } = policyFor(code);
  const message = error instanceof Error ? error.message : String(error);
  if (output === 'json')
    io.stdout(`${JSON.stringify({ apiVersion: 'causeway/v1', kind: 'Error', code, message, meaning, mend }, null, 2)}\n`);
  io.stderr(`${code}: ${message}\n  ${meaning}\n  ${mend}\n`);
  if (verbose === true && error instanceof Error) {
    io.stderr(`${error.stack ?? ''}\n`);
    for (let cause = error.cause; cause instanceof Error; cause = cause.cause) io.stderr(`caused by ${cause.stack ?? cause.message}\n`);
  }
  return exitCodeOf(code);
}

type Run = (command: Command, work: Work) => Promise<void>;

function createProgram(io: Io, run: Run): Command {
  const program = new Command('causeway');
  program
    .description('Keeps a live copy of a database in stores elsewhere, and proves that the copy is right.')
    .configureOutput({ writeOut: io.stdout, writeErr: io.stderr })
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(see `causeway help`)')
    .option('-c, --config <file>', 'configuration file', io.env['CAUSEWAY_CONFIG'] ?? 'causeway.yaml')
    .option('-p, --pipeline <name>', 'the pipeline that the command is about; the only one, or all, unless given')
    .addOption(new Option('-o, --output <format>', 'results for people or for machines').choices(['table', 'json']).default('table'))
    .option('-v, --verbose', 'more on stderr; errors with their stack')
    .option('--timeout <duration>', 'how long to wait for the daemon', '30s');

  program
    .command('run')
    .description('the daemon: captures and applies until it is told to stop')
    .option('--role <roles>', 'capture, apply, or both with a comma', 'capture,apply')
    .action(async (options: { readonly role: string }, command: Command) =>
      run(command, async (context) => (await import('./run.ts')).run(context, options)),
    );
  program
    .command('check')
    .description('looks at source, sinks, log and control store, and prints what mends what it finds')
    .option('--only <areas>', 'some of general, control, source, log, sink, with commas')
    .option('--fail-on <level>', 'error, or warning for the exit code 10 where there are only warnings', 'error')
    .action(async (options: { readonly only?: string; readonly failOn: string }, command: Command) =>
      run(command, async (context) => (await import('./check.ts')).check(context, options)),
    );
  program
    .command('status')
    .description('what the daemon does, or did last')
    .action(async (_: unknown, command: Command) => run(command, async (context) => (await import('./status.ts')).status(context)));
  pipelineCommands(program, run);
  schemaCommands(program, run);
  deadLetterCommands(program, run);
  snapshotCommands(program, run);
  reconcileCommands(program, run);
  slotCommands(program, run);
  leaseCommands(program, run);
  configCommands(program, run);
  program
    .command('completion <shell>')
    .description('a script for bash or zsh that completes commands')
    .action((shell: string, _options: unknown, command: Command) =>
      run(command, async (context) => (await import('./completion.ts')).completion(context.io, shell, commandPaths())),
    );
  program
    .command('version')
    .description('the version')
    .action(async (_: unknown, command: Command) =>
      run(command, async (context) => (await import('./version.ts')).version(io, context.options.output)),
    );
  return program;
}

function pipelineCommands(program: Command, run: Run): void {
  const group = program.command('pipeline').description('list, pause, resume, remove');
  group
    .command('list')
    .description('the configured pipelines')
    .action(async (_: unknown, command: Command) => run(command, async (context) => (await import('./pipeline.ts')).list(context)));
  for (const [name, paused, text] of [
    ['pause', true, 'stops capture and apply, or one sink, and says how much log the source keeps meanwhile'],
    ['resume', false, 'goes on where it was paused'],
  ] as const) {
    group
      .command(name)
      .description(text)
      .option('--sink <name>', 'this sink only')
      .action(async (options: { readonly sink?: string }, command: Command) =>
        run(command, async (context) => (await import('./pipeline.ts')).setPaused(context, { paused, sink: options.sink })),
      );
  }
  group
    .command('remove')
    .description('lists what would be dropped, and with --confirm drops it; never a replicated table')
    .option('--sink <name>', 'this sink only')
    .option('--confirm <pipeline>', 'the name of the pipeline')
    .option('--owner <name...>', 'who else has claimed a sink, as the error names it: a deployment that is gone for good')
    .option('--leave-unreachable', 'drops the rest where something does not answer')
    .action(
      async (
        {
          owner,
          ...options
        }: { readonly sink?: string; readonly confirm?: string; readonly owner?: readonly string[]; readonly leaveUnreachable?: boolean },
        command: Command,
      ) => run(command, async (context) => (await import('./pipeline-remove.ts')).remove(context, { ...options, owners: owner ?? [] })),
    );
}

function schemaCommands(program: Command, run: Run): void {
  const group = program.command('schema').description('list, diff, approve');
  group
    .command('list')
    .description('the tables with their schema versions')
    .action(async (_: unknown, command: Command) => run(command, async (context) => (await import('./schema.ts')).list(context)));
  group
    .command('diff')
    .description('what waits for an approval, and what the target lacks')
    .option('--sink <name>', 'this sink only')
    .action(async (options: { readonly sink?: string }, command: Command) =>
      run(command, async (context) => (await import('./schema.ts')).diff(context, { sink: options.sink })),
    );
  group
    .command('approve')
    .description('lets sinks go on with a new schema')
    .option('--sink <name>', 'this sink only')
    .option('--table <name>', 'this table only')
    .action(async (options: { readonly sink?: string; readonly table?: string }, command: Command) =>
      run(command, async (context) => (await import('./schema.ts')).approve(context, { sink: options.sink, table: options.table })),
    );
}

function deadLetterCommands(program: Command, run: Run): void {
  const group = program.command('dlq').description('list, show, replay, repair, discard what a sink refused');
  group
    .command('list')
    .description('the parked keys')
    .option('--sink <name>', 'this sink only')
    .action(async (options: { readonly sink?: string }, command: Command) =>
      run(command, async (context) => (await import('./dlq.ts')).list(context, { sink: options.sink })),
    );
  group
    .command('show <key>')
    .description('one parked key, as `dlq list` prints it')
    .option('--sink <name>', 'this sink only')
    .option('--show-data', 'the values of the row too')
    .action(async (key: string, options: { readonly sink?: string; readonly showData?: boolean }, command: Command) =>
      run(command, async (context) =>
        (await import('./dlq.ts')).show(context, { sink: options.sink, key, showData: options.showData === true }),
      ),
    );
  group
    .command('repair')
    .description('reads the rows of parked keys from the source again and brings them to the sink')
    .option('--sink <name>', 'the sink; the only one unless given')
    .option('--key <key...>', 'these keys, as `dlq list` prints them; every parked key unless given')
    .action(async (options: { readonly sink?: string; readonly key?: readonly string[] }, command: Command) =>
      run(command, async (context) => (await import('./dlq-repair.ts')).repair(context, { sink: options.sink, keys: options.key ?? [] })),
    );
  for (const [name, text] of [
    ['replay', 'writes parked changes again'],
    ['discard', 'gives parked changes up'],
  ] as const) {
    group
      .command(name)
      .description(text)
      .option('--sink <name>', 'the sink; the only one unless given')
      .option('--key <key...>', 'these keys, as `dlq list` prints them')
      .option('--all', 'every parked key of the sink')
      .option('--confirm <sink>', 'the name of the sink, to discard')
      .action(
        async (
          options: { readonly sink?: string; readonly key?: readonly string[]; readonly all?: boolean; readonly confirm?: string },
          command: Command,
        ) =>
          run(command, async (context) =>
            (await import('./dlq.ts')).request(context, `dlq-${name}`, {
              sink: options.sink,
              keys: options.key ?? [],
              all: options.all === true,
              confirm: options.confirm,
            }),
          ),
      );
  }
}

function snapshotCommands(program: Command, run: Run): void {
  type Options = { readonly table?: readonly string[]; readonly all?: boolean; readonly sink?: string };
  const selected = ({ table = [], all = false, sink }: Options): SnapshotOptions => ({ tables: table, all, sink });
  const group = program.command('snapshot').description('start, pause, resume, cancel, progress of loads of whole tables');
  group
    .command('start')
    .description('loads tables, or loads them again, beside the stream')
    .option('--table <name...>', 'these tables')
    .option('--all', 'every captured table')
    .option('--sink <name>', 'for this sink only')
    .action(async (options: Options, command: Command) =>
      run(command, async (context) => (await import('./snapshot.ts')).start(context, selected(options))),
    );
  for (const [name, text] of [
    ['pause', 'stops loads where they are'],
    ['resume', 'goes on where they were paused'],
    ['cancel', 'ends loads; what they have brought stays'],
  ] as const) {
    group
      .command(name)
      .description(text)
      .option('--table <name...>', 'these tables')
      .option('--all', 'every table that is being loaded')
      .option('--sink <name>', 'loads for this sink only')
      .action(async (options: Options, command: Command) =>
        run(command, async (context) => (await import('./snapshot.ts')).change(context, name, selected(options))),
      );
  }
  group
    .command('progress')
    .description('how far loads are')
    .option('--watch', 'again each second until all have ended')
    .action(async (options: { readonly watch?: boolean }, command: Command) =>
      run(command, async (context) => (await import('./snapshot.ts')).progress(context, { watch: options.watch === true })),
    );
}

function slotCommands(program: Command, run: Run): void {
  const slot = program.command('slot').description('list, drop');
  slot
    .command('list')
    .description('the replication slots, and what the source keeps for them')
    .action(async (_: unknown, command: Command) => run(command, async (context) => (await import('./slot.ts')).list(context)));
  slot
    .command('drop')
    .description('drops slot and publication; every table must be loaded again afterwards')
    .option('--confirm <slot>', 'the name of the slot')
    .action(async (options: { readonly confirm?: string }, command: Command) =>
      run(command, async (context) => (await import('./slot.ts')).drop(context, options)),
    );
}

function leaseCommands(program: Command, run: Run): void {
  const lease = program.command('lease').description('list, describe, step-down, break, raise');
  lease
    .command('list')
    .description('the capture leases: who holds them, and whether they are renewed, for which each is looked at for half its ttl')
    .action(async (_: unknown, command: Command) => run(command, async (context) => (await import('./lease.ts')).list(context)));
  lease
    .command('describe')
    .description('one lease, with its checkpoint and whether its holder is asked to step down')
    .action(async (_: unknown, command: Command) => run(command, async (context) => (await import('./lease.ts')).describe(context)));
  lease
    .command('step-down')
    .description('asks the holder to hand over to another daemon, and waits until one has taken over')
    .action(async (_: unknown, command: Command) => run(command, async (context) => (await import('./lease-change.ts')).stepDown(context)));
  lease
    .command('break')
    .description("ends a dead holder's lease, so that nobody has to wait for its ttl; refused while it is renewed")
    .option('--force', 'although it is renewed: its process then ends')
    .action(async (options: { readonly force?: boolean }, command: Command) =>
      run(command, async (context) => (await import('./lease-change.ts')).breakLease(context, options)),
    );
  lease
    .command('raise')
    .description('makes the next generation, or the epoch, greater than a number, after a control store was lost')
    .requiredOption('--above <number>', 'the number that the error names')
    .option('--epoch', 'the epoch, with an unknown fork: each table has to be loaded again')
    .action(async (options: { readonly above: string; readonly epoch?: boolean }, command: Command) =>
      run(command, async (context) => (await import('./lease.ts')).raise(context, options)),
    );
}

function configCommands(program: Command, run: Run): void {
  const group = program.command('config').description('validate, print, schema, init');
  group
    .command('validate')
    .description('names every mistake with its line and its mend')
    .action(async (_: unknown, command: Command) => run(command, async (context) => (await import('./config.ts')).validate(context)));
  group
    .command('print')
    .description('what is in effect, defaults included, without secrets')
    .action(async (_: unknown, command: Command) => run(command, async (context) => (await import('./config.ts')).print(context)));
  group
    .command('schema')
    .description('the JSON Schema of the file, for editors')
    .action(async (_: unknown, command: Command) => run(command, async (context) => (await import('./config.ts')).schema(context)));
  group
    .command('init')
    .description('writes a commented file')
    .option('--force', 'overwrites a file that is there')
    .action(async (options: { readonly force?: boolean }, command: Command) =>
      run(command, async (context) => (await import('./config.ts')).init(context, options)),
    );
}
