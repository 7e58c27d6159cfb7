// An HTTP proxy before DynamoDB Local that does what the service does and the local store never: it throttles, fails, leaves parts of a
// batch undone, hangs, and loses replies. Names and shapes are those of the API reference ("Error handling with DynamoDB",
// API_ThrottlingReason, API_BatchStatementError, API_BatchGetItem).
import { Agent, createServer, request as send, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

/** Why a statement of a batch failed, in an answer with the status 200. */
export type StatementCode =
  | 'ConditionalCheckFailed'
  | 'DuplicateItem'
  | 'InternalServerError'
  | 'ProvisionedThroughputExceeded'
  | 'RequestLimitExceeded'
  | 'ThrottlingError'
  | 'TransactionConflict';

export type ErrorName =
  | 'InternalServerError'
  | 'ProvisionedThroughputExceededException'
  | 'RequestLimitExceeded'
  | 'ServiceUnavailable'
  | 'ThrottlingException'
  | 'TransactionConflictException'
  | 'ValidationException';

export type DynamoDbFault =
  /** Answered so, and nothing takes effect. */
  | { readonly tag: 'error'; readonly name: ErrorName }
  /** It takes effect, and is answered so all the same. */
  | { readonly tag: 'error behind the effect'; readonly name: ErrorName }
  /**
   * Of a batch of statements those that `strikes` picks, by their places, are answered so and the others take effect. A request that is no
   * such batch is answered by the error that means the same, unless none does.
   */
  | { readonly tag: 'statements'; readonly code: StatementCode; readonly strikes: (place: number) => boolean }
  /** The same, but every statement takes effect. */
  | { readonly tag: 'statements behind the effect'; readonly code: StatementCode; readonly strikes: (place: number) => boolean }
  /** Of the keys or writes of a batch those that `strikes` picks come back as unprocessed; other requests are throttled. */
  | { readonly tag: 'unprocessed'; readonly strikes: (place: number) => boolean }
  /** The connection ends; nothing takes effect. */
  | { readonly tag: 'cut' }
  /** It takes effect; instead of its answer the connection ends. */
  | { readonly tag: 'lost reply' }
  /** It takes effect, and no answer comes until the proxy is healed. */
  | { readonly tag: 'silence' }
  /** Nothing takes effect, and no answer comes until the proxy is healed. */
  | { readonly tag: 'hang' };

export type DynamoDbRequest = {
  /** `PutItem`, say. */
  readonly operation: string;
  readonly body: Body;
  readonly writes: boolean;
};

type Body = Readonly<Record<string, unknown>>;
type Answer = { readonly status: number; readonly body: Body };
type Asked = { readonly message: IncomingMessage; readonly text: string; readonly request: DynamoDbRequest };

const throttling: ReadonlySet<string> = new Set(['ProvisionedThroughputExceededException', 'RequestLimitExceeded', 'ThrottlingException']);
const statuses: Readonly<Partial<Record<ErrorName, number>>> = { InternalServerError: 500, ServiceUnavailable: 503 };
/** What a statement's code is called where it is the answer to a request; null where no request is answered so for nothing. */
const errorsByCode: Readonly<Record<StatementCode, ErrorName | null>> = {
  ConditionalCheckFailed: null,
  DuplicateItem: null,
  InternalServerError: 'InternalServerError',
  ProvisionedThroughputExceeded: 'ProvisionedThroughputExceededException',
  RequestLimitExceeded: 'RequestLimitExceeded',
  ThrottlingError: 'ThrottlingException',
  TransactionConflict: 'TransactionConflictException',
};

export class DynamoDbProxy implements AsyncDisposable {
  readonly port: number;
  /** Asked for each request before it goes on; a promise holds the request back. Null lets it pass. */
  onRequest: (request: DynamoDbRequest) => DynamoDbFault | null | Promise<DynamoDbFault | null> = () => null;
  readonly #server: Server;
  readonly #target: URL;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #silent = new Set<Socket>();
  #struck = 0;

  private constructor(server: Server, target: URL) {
    this.#server = server;
    this.#target = target;
    this.port = (server.address() as AddressInfo).port;
  }

  /** `target`: the endpoint of a server. */
  static async create(target: string): Promise<DynamoDbProxy> {
    const proxies: DynamoDbProxy[] = [];
    const server = createServer((message, response) => {
      proxies[0]?.meet(message, response).catch(() => message.socket.destroy());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const proxy = new DynamoDbProxy(server, new URL(target));
    proxies.push(proxy);
    return proxy;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${String(this.port)}`;
  }

  /** Requests that a fault befell, ever. */
  get struck(): number {
    return this.#struck;
  }

  /** From now on everything passes; what waits for an answer loses its connection. Returns how many requests had been struck. */
  heal(): number {
    this.onRequest = () => null;
    for (const socket of this.#silent) socket.destroy();
    this.#silent.clear();
    const struck = this.#struck;
    this.#struck = 0;
    return struck;
  }

  private async meet(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const text = await textOf(message);
    const asked = { message, text, request: requestOf(message, text) };
    const fault = await this.onRequest(asked.request);
    if (fault === null) {
      answer(response, await this.#forward(asked));
      return;
    }
    await this.#strike(fault, asked, response);
  }

  async #strike(fault: DynamoDbFault, asked: Asked, response: ServerResponse): Promise<void> {
    const { socket } = asked.message;
    switch (fault.tag) {
      case 'error behind the effect':
        await this.#forward(asked);
        this.#struck += 1;
        answer(response, errorOf(fault.name));
        return;
      case 'error':
        this.#struck += 1;
        answer(response, errorOf(fault.name));
        return;
      case 'statements':
      case 'statements behind the effect':
        answer(response, await this.#strikeStatements(fault, asked));
        return;
      case 'unprocessed':
        answer(response, await this.#leaveUnprocessed(fault.strikes, asked));
        return;
      case 'cut':
        this.#struck += 1;
        socket.destroy();
        return;
      case 'lost reply':
        await this.#forward(asked);
        this.#struck += 1;
        socket.destroy();
        return;
      case 'silence':
      case 'hang':
        this.#struck += 1;
        this.#silent.add(socket);
        if (fault.tag === 'silence') await this.#forward(asked);
        return;
    }
  }

  async #strikeStatements(
    { tag, code, strikes }: DynamoDbFault & { readonly tag: 'statements' | 'statements behind the effect' },
    asked: Asked,
  ): Promise<Answer> {
    const { Statements: statements } = asked.request.body as { readonly Statements?: readonly Body[] };
    if (asked.request.operation !== 'BatchExecuteStatement' || statements === undefined) {
      const name = errorsByCode[code];
      if (name === null) return await this.#forward(asked);
      if (tag === 'statements behind the effect') await this.#forward(asked);
      this.#struck += 1;
      return errorOf(name);
    }
    const isStruck = statements.map((_, place) => strikes(place));
    if (!isStruck.includes(true)) return await this.#forward(asked);
    this.#struck += 1;
    const sent = tag === 'statements' ? statements.filter((_, place) => isStruck[place] === false) : statements;
    const done = sent.length === 0 ? { status: 200, body: {} } : await this.#forward(asked, { ...asked.request.body, Statements: sent });
    if (done.status !== 200) return done;
    const answers = [...((done.body['Responses'] ?? []) as readonly Body[])];
    const responses = isStruck.map((is) => {
      const own = is && tag === 'statements' ? {} : (answers.shift() ?? {});
      return is ? { Error: { Code: code, Message: 'as the test wants it' } } : own;
    });
    return { status: 200, body: { ...done.body, Responses: responses } };
  }

  async #leaveUnprocessed(strikes: (place: number) => boolean, asked: Asked): Promise<Answer> {
    const { operation, body } = asked.request;
    if (operation === 'BatchGetItem') {
      const items = (body['RequestItems'] ?? {}) as Readonly<Record<string, { readonly Keys: readonly unknown[] }>>;
      const part = (isStruck: boolean) =>
        Object.fromEntries(
          Object.entries(items)
            .map(([table, of]) => [table, { ...of, Keys: of.Keys.filter((_, place) => strikes(place) === isStruck) }] as const)
            .filter(([, { Keys }]) => Keys.length > 0),
        );
      return await this.#inPart(asked, { left: part(true), sent: part(false), name: 'UnprocessedKeys' });
    }
    if (operation === 'BatchWriteItem') {
      const items = (body['RequestItems'] ?? {}) as Readonly<Record<string, readonly unknown[]>>;
      const part = (isStruck: boolean) =>
        Object.fromEntries(
          Object.entries(items)
            .map(([table, writes]) => [table, writes.filter((_, place) => strikes(place) === isStruck)] as const)
            .filter(([, writes]) => writes.length > 0),
        );
      return await this.#inPart(asked, { left: part(true), sent: part(false), name: 'UnprocessedItems' });
    }
    this.#struck += 1;
    return errorOf('ProvisionedThroughputExceededException');
  }

  /** Where nothing at all is processed the service throttles the request instead. */
  async #inPart(
    asked: Asked,
    { left, sent, name }: { readonly left: Body; readonly sent: Body; readonly name: 'UnprocessedKeys' | 'UnprocessedItems' },
  ): Promise<Answer> {
    if (Object.keys(left).length === 0) return await this.#forward(asked);
    this.#struck += 1;
    if (Object.keys(sent).length === 0) return errorOf('ProvisionedThroughputExceededException');
    const done = await this.#forward(asked, { ...asked.request.body, RequestItems: sent });
    return done.status === 200 ? { status: 200, body: { ...done.body, [name]: left } } : done;
  }

  async #forward({ message, text }: Asked, instead?: Body): Promise<Answer> {
    const payload = instead === undefined ? text : JSON.stringify(instead);
    const headers = { ...message.headers, host: this.#target.host, 'content-length': String(Buffer.byteLength(payload)) };
    const { method } = message;
    const replied = await new Promise<IncomingMessage>((resolve, reject) => {
      const request = send(this.#target, { method: method ?? 'POST', headers, agent: this.#agent }, resolve);
      request.on('error', reject);
      request.end(payload);
    });
    return { status: replied.statusCode ?? 500, body: JSON.parse((await textOf(replied)) || '{}') as Body };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#agent.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

function requestOf(message: IncomingMessage, text: string): DynamoDbRequest {
  const operation = String(message.headers['x-amz-target'] ?? '').replace(/^.*\./, '');
  return {
    operation,
    body: JSON.parse(text === '' ? '{}' : text) as Body,
    writes: /^(Put|Update|Delete)Item$|^BatchWriteItem$|^TransactWriteItems$|ExecuteStatement$|^ExecuteTransaction$/.test(operation),
  };
}

function errorOf(name: ErrorName): Answer {
  const space =
    throttling.has(name) && name === 'ThrottlingException' ? 'com.amazon.coral.availability' : 'com.amazonaws.dynamodb.v20120810';
  // The reference spells the member of this one exception with a small letter.
  const member = name === 'ThrottlingException' ? 'throttlingReasons' : 'ThrottlingReasons';
  const resource = 'arn:aws:dynamodb:eu-west-1:000000000000:table/of-a-test';
  const reasons = throttling.has(name) ? { [member]: [{ reason: 'TableWriteKeyRangeThroughputExceeded', resource }] } : {};
  return { status: statuses[name] ?? 400, body: { __type: `${space}#${name}`, message: 'as the test wants it', ...reasons } };
}

function answer(response: ServerResponse, { status, body }: Answer): void {
  response.writeHead(status, { 'content-type': 'application/x-amz-json-1.0' }).end(JSON.stringify(body));
}

async function textOf(message: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of message) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString();
}

/** Requests meet one of the faults by chance; behind `most` of them everything passes. `share`: of requests that are struck, 0 to 1. */
export function byChance(
  random: () => number,
  { faults, share, most = Infinity }: { readonly faults: readonly DynamoDbFault[]; readonly share: number; readonly most?: number },
): () => DynamoDbFault | null {
  let left = most;
  return () => {
    if (left <= 0 || random() >= share) return null;
    left -= 1;
    return faults[Math.floor(random() * faults.length)] ?? null;
  };
}
