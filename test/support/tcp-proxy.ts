// A TCP proxy that stands between a client and a server and does to the connection what networks do.
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net';

/** What is done with a piece that travels: it is passed on, held until `release`, swallowed, or the connection is cut before it. */
export type Verdict = 'pass' | 'hold' | 'swallow' | 'cut';

export type Direction = 'to the server' | 'to the client';

/** What a network does to all connections for a while. */
export type Trouble =
  /** Connections end, and nobody gets a new one. */
  | { readonly tag: 'cut' }
  /** Each piece takes so much longer, in order. */
  | { readonly tag: 'delay'; readonly ms: number }
  /** Nothing arrives in that direction, not even that the other side has gone. */
  | { readonly tag: 'black hole'; readonly direction: Direction }
  /** What was asked takes effect; instead of its reply the connection ends. */
  | { readonly tag: 'lost reply' };

/** One direction of a connection. What waits is in order; null is the end of the side that sends. */
type Way = {
  readonly pair: Pair;
  readonly direction: Direction;
  readonly from: Socket;
  readonly to: Socket;
  readonly waiting: { readonly atMs: number; readonly piece: Buffer | null }[];
  timer: NodeJS.Timeout | undefined;
};

type Pair = { readonly client: Socket; readonly server: Socket; readonly ways: Way[]; wasAsked: boolean };

export class TcpProxy implements AsyncDisposable {
  readonly port: number;
  /** Asked for each piece on its way to the server and back. */
  onRequest: (piece: Buffer) => Verdict = () => 'pass';
  onReply: (piece: Buffer) => Verdict = () => 'pass';
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  #held: (() => void)[] = [];
  #connections = 0;
  #trouble: Trouble | null = null;
  #struck = 0;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  static async create(target: { readonly host: string; readonly port: number }): Promise<TcpProxy> {
    const proxies: TcpProxy[] = [];
    const server = createServer((client) => proxies[0]?.join(client, target));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const proxy = new TcpProxy(server, (server.address() as AddressInfo).port);
    proxies.push(proxy);
    return proxy;
  }

  /** How many were ever made. */
  get connections(): number {
    return this.#connections;
  }

  private join(client: Socket, target: { readonly host: string; readonly port: number }): void {
    if (this.#trouble?.tag === 'cut') {
      this.#struck += 1;
      client.destroy();
      return;
    }
    const pair: Pair = { client, server: connect(target), ways: [], wasAsked: false };
    this.#connections += 1;
    this.#pairs.add(pair);
    this.#carry(pair, 'to the server');
    this.#carry(pair, 'to the client');
  }

  #carry(pair: Pair, direction: Direction): void {
    const [from, to] = direction === 'to the server' ? [pair.client, pair.server] : [pair.server, pair.client];
    const way: Way = { pair, direction, from, to, waiting: [], timer: undefined };
    pair.ways.push(way);
    from.setNoDelay(true);
    from.on('error', () => from.destroy());
    from.on('close', () => this.#take(way, null));
    from.on('data', (piece) => {
      const verdict = direction === 'to the server' ? this.onRequest(piece) : this.onReply(piece);
      if (verdict === 'cut') this.#end(pair);
      if (verdict === 'pass') this.#take(way, piece);
      if (verdict === 'hold') this.#held.push(() => to.write(piece));
    });
  }

  #take(way: Way, piece: Buffer | null): void {
    const trouble = this.#trouble;
    if (trouble?.tag === 'lost reply' && piece !== null) {
      if (way.direction === 'to the server') way.pair.wasAsked = true;
      else if (way.pair.wasAsked) {
        this.#struck += 1;
        this.#end(way.pair);
        return;
      }
    }
    if (trouble?.tag === 'delay' || this.#isSwallowed(way)) this.#struck += 1;
    way.waiting.push({ atMs: performance.now() + (trouble?.tag === 'delay' ? trouble.ms : 0), piece });
    this.#pass(way);
  }

  /** Passes on what is due. */
  #pass(way: Way): void {
    clearTimeout(way.timer);
    for (let next = way.waiting[0]; next !== undefined && !this.#isSwallowed(way); next = way.waiting[0]) {
      const leftMs = next.atMs - performance.now();
      if (leftMs > 0) {
        way.timer = setTimeout(() => this.#pass(way), Math.ceil(leftMs));
        return;
      }
      way.waiting.shift();
      if (next.piece === null) this.#end(way.pair);
      else if (!way.to.destroyed) way.to.write(next.piece);
    }
  }

  #isSwallowed(way: Way): boolean {
    return this.#trouble?.tag === 'black hole' && this.#trouble.direction === way.direction;
  }

  #end(pair: Pair): void {
    this.#pairs.delete(pair);
    for (const way of pair.ways) {
      clearTimeout(way.timer);
      way.waiting.length = 0;
    }
    pair.client.destroy();
    pair.server.destroy();
  }

  /** Passes on what was held, in order. */
  release(): void {
    const held = this.#held;
    this.#held = [];
    for (const pass of held) pass();
  }

  /** From now on nothing is taken from the connections that are open, as by a machine that vanished: not even that one ends. */
  vanish(): void {
    for (const { client, server } of this.#pairs) {
      client.pause();
      server.pause();
    }
  }

  /** Ends every connection that is open now. */
  cutAll(): void {
    for (const pair of [...this.#pairs]) this.#end(pair);
  }

  /** From now on, until `heal`. */
  strike(trouble: Trouble): void {
    this.#trouble = trouble;
    this.#struck = 0;
    if (trouble.tag !== 'cut') return;
    this.#struck = this.#pairs.size;
    this.cutAll();
  }

  /**
   * What was under way arrives now, late and in order. Returns how many pieces, connections or replies the trouble struck: with none it
   * was not noticed by anybody.
   */
  heal(): number {
    this.#trouble = null;
    for (const { ways } of this.#pairs) {
      for (const way of ways) this.#pass(way);
    }
    return this.#struck;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cutAll();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
