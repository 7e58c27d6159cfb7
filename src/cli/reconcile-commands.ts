import type { Command } from 'commander';
import type { CommandContext } from './context.ts';
import type { ReconcileOptions } from './reconcile.ts';

type Options = Omit<ReconcileOptions, 'tables'> & { readonly table?: readonly string[] };

export function reconcileCommands(
  program: Command,
  run: (command: Command, work: (context: CommandContext) => Promise<number>) => Promise<void>,
): void {
  const group = program
    .command('reconcile')
    .description('run, resume, status, report, repair: compares source and sinks, and mends what differs');
  for (const [name, text] of [
    ['run', 'compares source and sink, and ends with the verdict: 0 clean, 3 differences, 8 partial, 9 inconclusive'],
    ['resume', 'goes on with the newest run where it was left'],
  ] as const) {
    const command = group
      .command(name)
      .description(text)
      .option('--sink <name>', 'this sink; all, one after the other, unless given')
      .option('--max-duration <duration>', 'ends, to be resumed, when it took so long')
      .option('--rate <rows>', 'rows of the source a second, at most')
      .option('--patience <duration>', 'how long the sink may take to apply what the log holds', '5m');
    if (name === 'run') {
      command
        .option('--table <name...>', 'these tables; all unless given')
        .option('--sample <share>', 'looks up this share of the source, such as 5%; rows that the sink alone has are not looked for')
        .option('--repair', 'publishes what differs again, as the source has it; whether that mended it the next run tells')
        .option('--repair-max <keys>', 'stops where more differ', '1000')
        .option('--since <run>', 'only keys of which the log holds a change since that run began');
    }
    command.action(async ({ table = [], ...options }: Options, called: Command) =>
      run(called, async (context) => (await import('./reconcile.ts'))[name](context, { ...options, tables: table })),
    );
  }
  group
    .command('status')
    .description('the newest runs of each sink')
    .option('--sink <name>', 'this sink only')
    .action(async (options: { readonly sink?: string }, command: Command) =>
      run(command, async (context) => (await import('./reconcile-differences.ts')).status(context, options)),
    );
  group
    .command('report')
    .description('the differences of a run with their keys')
    .option('--sink <name>', 'this sink only')
    .option('--run <run>', 'this run; the newest unless given')
    .option('--show-data', 'the rows at both ends too, as they are now')
    .action(
      async (
        { showData = false, ...options }: { readonly sink?: string; readonly run?: string; readonly showData?: boolean },
        command: Command,
      ) => run(command, async (context) => (await import('./reconcile-differences.ts')).report(context, { ...options, showData })),
    );
  group
    .command('repair')
    .description('publishes the rows that differ again, as the source has them')
    .option('--sink <name>', 'the sink; the only one unless given')
    .option('--plan', 'shows what would be published')
    .option('--apply <plan>', 'has that plan published')
    .option('--max <keys>', 'keys that may be published', '1000')
    .action(
      async (
        {
          plan = false,
          max,
          ...options
        }: { readonly sink?: string; readonly plan?: boolean; readonly apply?: string; readonly max: string },
        command: Command,
      ) =>
        run(command, async (context) =>
          (await import('./reconcile-differences.ts')).repairDifferences(context, { ...options, plan, max: Number(max) }),
        ),
    );
}
