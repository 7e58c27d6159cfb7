import { present } from '#core/assert.ts';
import { CausewayError, type ErrorCode } from '#core/errors.ts';
import { hashed } from './chance.ts';
import type { Coverage } from './coverage.ts';
import type { EventLoop } from './event-loop.ts';
import { nothing, type Life } from './life.ts';
import type { CallFault } from './plan.ts';
import { siteIndex, sites, type Port, type Site } from './sites.ts';
import type { Trace } from './trace.ts';

const REFUSALS: Readonly<Record<Port, ErrorCode>> = {
  source: 'source_unavailable',
  log: 'log_unavailable',
  control: 'control_unavailable',
  sink: 'sink_unavailable',
};

function portOf(site: Site): Port | null {
  const name = site.slice(0, site.indexOf('.'));
  if (name === 'letters' || name === 'group') return 'log';
  return name === 'runtime' ? null : (name as Port);
}

/** How long before a caller is told that nobody answers. */
const TIMEOUT_MS = 150;

export type NetworkInput = {
  readonly seed: number;
  readonly loop: EventLoop;
  readonly trace: Trace;
  readonly coverage: Coverage;
  readonly faults: readonly CallFault[];
  /** Called when a fault kills a process; it is started again after `downMs`. */
  readonly onCrash: (life: Life, downMs: number) => void;
};

type Armed = { readonly fault: CallFault; left: number };

/** What the network knows of one site of one daemon. */
type Place = { readonly site: Site; readonly index: number; calls: number; readonly armed: Armed[] };

/** Everything between the processes and what they talk to: how long it takes, and what goes wrong there. */
export class Network {
  readonly #input: NetworkInput;
  /** Faults that strike whoever makes the call, by the site's index. */
  readonly #anywhere = sites.map((): Armed[] => []);
  /** By the daemon and its site's index. */
  readonly #places: (readonly Place[])[] = [];
  /** Until when a daemon cannot reach a port, as `daemon/port`. */
  readonly #cut = new Map<string, number>();
  #controlDownUntilMs = 0;
  /** Extra time that a sink takes. */
  readonly sinkDelayMs = new Map<string, number>();
  /** Faults that have struck. */
  struck = 0;

  constructor(input: NetworkInput) {
    this.#input = input;
    for (const fault of input.faults) {
      const index = siteIndex.get(fault.site) ?? 0;
      const armed = fault.daemon === null ? this.#anywhere[index] : this.#place(fault.daemon, fault.site).armed;
      armed?.push({ fault, left: fault.skip });
    }
  }

  get loop(): EventLoop {
    return this.#input.loop;
  }

  cut(daemon: number, port: Port, untilMs: number): void {
    this.#cut.set(`${daemon}/${port}`, untilMs);
  }

  controlDown(untilMs: number): void {
    this.#controlDownUntilMs = untilMs;
  }

  isCut(daemon: number, port: Port): boolean {
    return this.cutUntilMs(daemon, port) > this.loop.nowMs;
  }

  cutUntilMs(daemon: number, port: Port): number {
    const own = this.#cut.get(`${daemon}/${port}`) ?? 0;
    return port === 'control' ? Math.max(own, this.#controlDownUntilMs) : own;
  }

  /** Notes the call and says which fault strikes it. */
  enter(life: Life, site: Site): { readonly fault: CallFault | null; readonly chance: number } {
    const { trace, coverage, seed, loop } = this.#input;
    const place = this.#place(life.daemon, site);
    place.calls += 1;
    coverage.called(place.index);
    trace.call(life, place, loop.nowMs);
    const anywhere = this.#anywhere[place.index] ?? [];
    let fault = place.armed.length === 0 ? null : this.#strikes(life, site, place.armed);
    if (fault === null && anywhere.length > 0) fault = this.#strikes(life, site, anywhere);
    return { fault, chance: hashed(seed, life.daemon * 64 + place.index, place.calls) };
  }

  #place(daemon: number, site: Site): Place {
    this.#places[daemon] ??= sites.map((each, index) => ({ site: each, index, calls: 0, armed: [] }));
    return present(this.#places[daemon][siteIndex.get(site) ?? 0], 'place');
  }

  #strikes(life: Life, site: Site, armed: Armed[]): CallFault | null {
    for (const [index, each] of armed.entries()) {
      if (this.loop.nowMs < each.fault.afterMs) continue;
      if (each.left > 0) {
        each.left -= 1;
        continue;
      }
      armed.splice(index, 1);
      this.#input.coverage.struck(each.fault.kind, site);
      this.#input.trace.fault(life, each.fault, this.loop.nowMs);
      this.struck += 1;
      return each.fault;
    }
    return null;
  }

  /** Faults that strike whoever makes the call, and have not struck yet. */
  get waiting(): number {
    return this.#anywhere.reduce((sum, armed) => sum + armed.length, 0);
  }

  crash(life: Life, downMs: number): void {
    if (life.dead) return;
    life.die();
    this.#input.onCrash(life, downMs);
  }
}

/** What makes the way longer: by so much, and by chance up to so much. */
type Slowness = { readonly extraMs?: number; readonly spreadMs?: number };

/** The end of the network that one process holds. Every call of a port goes through `call`. */
export class Line {
  readonly life: Life;
  readonly network: Network;

  constructor(life: Life, network: Network) {
    this.life = life;
    this.network = network;
  }

  /**
   * Sends a request whose effect is `effect`, and brings back its answer. What was sent has its effect though the caller has
   * died or has given up since; an answer reaches only a process that lives and still waits for it.
   */
  call<T>(site: Site, signal: AbortSignal | null, effect: () => Promise<T> | T, more: Slowness = {}): Promise<T> {
    const { life, network } = this;
    if (life.dead) return nothing();
    if (signal?.aborted === true) return Promise.reject(signal.reason as Error);
    const { fault, chance } = network.enter(life, site);
    const port = portOf(site);
    if (fault?.kind === 'crash_before') {
      network.crash(life, fault.ms);
      return nothing();
    }
    return new Promise((resolve, reject) => {
      let open = true;
      const aborted = (): void => {
        if (!open || life.dead) return;
        open = false;
        reject(signal?.reason as Error);
      };
      signal?.addEventListener('abort', aborted, { once: true });
      const answer = (act: () => void): void =>
        life.deliver(() => {
          if (!open) return;
          open = false;
          signal?.removeEventListener('abort', aborted);
          act();
        });
      const answerIn = (ms: number, act: () => void): void => (ms > 0 ? network.loop.in(ms, () => answer(act)) : answer(act));
      const refuse = (): void => reject(refusal(port, chance));
      const way = wayMs(chance) + (more.extraMs ?? 0) + chance * (more.spreadMs ?? 0) + (fault?.kind === 'delay' ? fault.ms : 0);
      // Half of the answers come in the same turn as the effect, so that both orders of an answer and what else happens are met.
      const back = chance * 8 - Math.floor(chance * 8) < 0.5 ? 0 : way / 2;

      const untilMs = port === null ? 0 : network.cutUntilMs(life.daemon, port);
      if (untilMs > network.loop.nowMs) {
        answerIn(chance < 0.5 ? TIMEOUT_MS : untilMs - network.loop.nowMs + 1, refuse);
        return;
      }
      if (fault?.kind === 'error') {
        answerIn(way, refuse);
        return;
      }
      const perform = async (): Promise<T> => effect();
      if (fault?.kind === 'late') {
        answerIn(way, refuse);
        network.loop.in(way + fault.ms, () => void perform().catch(() => undefined));
        return;
      }
      network.loop.in(way, () => {
        // A caller that gave up before the request had left may have been in time to take it back.
        if (!open && chance < 0.3) return;
        const settled = (act: () => void): void => {
          if (fault?.kind === 'crash_after') network.crash(life, fault.ms);
          else if (fault?.kind === 'lost_reply') answerIn(TIMEOUT_MS, refuse);
          else answerIn(back, act);
        };
        perform().then(
          (value) => settled(() => resolve(value)),
          (error: unknown) => settled(() => reject(error instanceof Error ? error : new Error(String(error)))),
        );
        if (fault?.kind === 'duplicate') network.loop.in(fault.ms, () => void perform().catch(() => undefined));
      });
    });
  }
}

function refusal(port: Port | null, chance: number): CausewayError {
  if (port === 'sink' && chance > 0.8) return new CausewayError('sink_throttled', 'asked for fewer writes');
  return new CausewayError(REFUSALS[port ?? 'control'], 'there is no answer');
}

/** Mostly a millisecond or two, now and then far more. */
function wayMs(chance: number): number {
  const part = chance * 97 - Math.floor(chance * 97);
  return chance > 0.985 ? 2 + part * 60 : part * part * 3;
}
