// The commands of reconciliation over fakes: an operator beside a pipeline, on one virtual clock.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { codeOf } from '#core/errors.ts';
import { connector as control } from '../../connectors/control-embedded/index.ts';
import { connector as log } from '../../connectors/log-embedded/index.ts';
import { connector as sink } from '../../connectors/sink-postgres/index.ts';
import { connector as source } from '../../connectors/source-postgres/index.ts';
import type { CommandContext } from '../../src/cli/context.ts';
import '../../src/cli/reconcile-differences.ts';
import { reconcileCommands } from '../../src/cli/reconcile-commands.ts';
import type { Connectors } from '../../src/config/connectors.ts';
import { exitCodeOf } from '../../src/runtime/supervisor.ts';
import { PIPELINE } from '../capture/world.ts';
import { Ground } from '../reconcile/ground.ts';
import { FakeSource } from '../support/fake-source.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { MemoryLog } from '../support/memory-log.ts';
import { MemorySink } from '../support/memory-sink.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { tempFolder } from '../support/temp-folder.ts';

export type Ran = { readonly code: number; readonly out: string; readonly err: string; readonly reason: string | null };

export class CommandGround implements Disposable {
  readonly ground: Ground;
  readonly #folder = tempFolder();

  constructor(ground = new Ground()) {
    this.ground = ground;
    // Of the connectors only the configuration is real.
    writeFileSync(
      join(this.#folder.path, 'causeway.yaml'),
      `control: { kind: embedded, path: ${this.#folder.path}/control.db }
pipelines:
  ${PIPELINE}:
    source: { kind: postgres, url: "postgres://u@127.0.0.1:1/a", tables: [public.*] }
    log: { kind: embedded, path: ${this.#folder.path}/log.db }
    sinks: { warm: { kind: postgres, url: "postgres://u@127.0.0.1:1/b" } }\n`,
    );
  }

  /** What a command says while the pipeline goes on. `code` is what the process would end with. */
  async reconcile(...words: readonly string[]): Promise<Ran> {
    return await this.ground.world.clock.runUntil(this.#run(words));
  }

  async #run(words: readonly string[]): Promise<Ran> {
    const said = { code: 0, out: '', err: '', reason: null as string | null };
    const program = new Command()
      .exitOverride()
      .configureOutput({ writeErr: (text) => void (said.err += text), writeOut: (text) => void (said.out += text) })
      .option('-o, --output <format>');
    const parts = { connectors: this.#connectors(), runtime: this.ground.world.clock.runtime, logger: silentLogger };
    const io = {
      stdout: (text: string) => void (said.out += text),
      stderr: (text: string) => void (said.err += text),
      env: {},
      signal: new AbortController().signal,
    };
    reconcileCommands(program, async (command, work) => {
      const { output = 'table' } = command.optsWithGlobals<{ readonly output?: 'table' | 'json' }>();
      const options = { config: join(this.#folder.path, 'causeway.yaml'), output, timeout: '30s' };
      const context: CommandContext = { io, options, logger: silentLogger, parts };
      try {
        said.code = await work(context);
      } catch (error) {
        said.code = exitCodeOf(codeOf(error));
        said.reason = error instanceof Error ? error.message : String(error);
      }
    });
    await program.parseAsync(['reconcile', ...words], { from: 'user' });
    return said;
  }

  #connectors(): Connectors {
    const { world, store } = this.ground;
    return {
      source: { postgres: () => Promise.resolve({ ...source, create: () => new FakeSource(world.database) }) },
      log: { embedded: () => Promise.resolve({ ...log, create: () => new MemoryLog(world.logStore) }) },
      sink: { postgres: () => Promise.resolve({ ...sink, create: () => new MemorySink(store) }) },
      control: { embedded: () => Promise.resolve({ ...control, create: () => new MemoryControlStore(world.controlRows) }) },
    };
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
  }
}
