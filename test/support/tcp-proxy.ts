// A TCP proxy that stands between a client and a server and does to the connection what networks do.
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net';

type Pair = { readonly client: Socket; readonly server: Socket };

/** What is done with a piece that travels: it is passed on, held until `release`, swallowed, or the connection is cut before it. */
export type Verdict = 'pass' | 'hold' | 'swallow' | 'cut';

export class TcpProxy implements AsyncDisposable {
  readonly port: number;
  /** Asked for each piece on its way to the server and back. */
  onRequest: (piece: Buffer) => Verdict = () => 'pass';
  onReply: (piece: Buffer) => Verdict = () => 'pass';
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  #held: (() => void)[] = [];
  #connections = 0;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  static async create(target: { readonly host: string; readonly port: number }): Promise<TcpProxy> {
    const proxies: TcpProxy[] = [];
    const server = createServer((client) => proxies[0]?.join(client, connect(target)));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const proxy = new TcpProxy(server, (server.address() as AddressInfo).port);
    proxies.push(proxy);
    return proxy;
  }

  /** How many were ever made. */
  get connections(): number {
    return this.#connections;
  }

  private join(client: Socket, server: Socket): void {
    const pair = { client, server };
    this.#connections += 1;
    this.#pairs.add(pair);
    this.#carry(pair, client, server, (piece) => this.onRequest(piece));
    this.#carry(pair, server, client, (piece) => this.onReply(piece));
  }

  #carry(pair: Pair, from: Socket, to: Socket, judge: (piece: Buffer) => Verdict): void {
    from.setNoDelay(true);
    from.on('error', () => this.#end(pair));
    from.on('close', () => this.#end(pair));
    from.on('data', (piece) => {
      const verdict = judge(piece);
      if (verdict === 'cut') this.#end(pair);
      if (verdict === 'pass') to.write(piece);
      if (verdict === 'hold') this.#held.push(() => to.write(piece));
    });
  }

  #end(pair: Pair): void {
    this.#pairs.delete(pair);
    pair.client.destroy();
    pair.server.destroy();
  }

  /** Passes on what was held, in order. */
  release(): void {
    const held = this.#held;
    this.#held = [];
    for (const pass of held) pass();
  }

  /** Ends every connection that is open now. */
  cutAll(): void {
    for (const pair of [...this.#pairs]) this.#end(pair);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cutAll();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
