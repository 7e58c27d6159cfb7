// Stands before DynamoDB Local, and counts what is asked of each table and what that would cost.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Of one table. Units as the store tells them; a write whose condition failed is told by nobody, and counted by `refusedUnits`. */
export type Consumed = { readonly calls: number; readonly writeUnits: number; readonly readUnits: number };

type ConsumedCapacity = { readonly TableName?: string; readonly CapacityUnits?: number };
type Asked = { readonly TableName?: string; readonly Statements?: readonly Statement[] };
type Statement = { readonly Statement: string; readonly Parameters: readonly Value[] };
type Value = { readonly S?: string; readonly N?: string; readonly B?: string };
type Item = Readonly<Record<string, Value>>;

const NOTHING: Consumed = { calls: 0, writeUnits: 0, readUnits: 0 };
/** Calls that change nothing, and are paid in units for reading. */
const READS: ReadonlySet<string> = new Set(['GetItem', 'BatchGetItem', 'Query', 'Scan', 'TransactGetItems']);
/** Calls about a table itself, which cost nothing. */
const FREE = /^(Describe|Create|Update|Tag|List)(?!Item)/;

export class DynamoDbMeter implements AsyncDisposable {
  readonly endpoint: string;
  readonly #server: Server;
  readonly #consumed = new Map<string, Consumed>();

  private constructor(server: Server) {
    this.#server = server;
    this.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  /** `refusedUnits`: what a write costs whose condition failed, of the items that are used here. */
  static async create(of: { readonly endpoint: string; readonly refusedUnits: number }): Promise<DynamoDbMeter> {
    const meters: DynamoDbMeter[] = [];
    const server = createServer((request, response) => {
      meters[0]?.answer(of, request, response).catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const meter = new DynamoDbMeter(server);
    meters.push(meter);
    return meter;
  }

  /** What each table was asked since the last look. */
  take(): ReadonlyMap<string, Consumed> {
    const taken = new Map(this.#consumed);
    this.#consumed.clear();
    return taken;
  }

  private async answer(
    of: { readonly endpoint: string; readonly refusedUnits: number },
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(request, 'end');
    const operation = String(request.headers['x-amz-target']).replace(/^.*\./, '');
    const asked = JSON.parse(Buffer.concat(chunks).toString('utf8')) as Asked;
    const headers = Object.fromEntries(
      ['content-type', 'authorization', 'x-amz-date'].map((name) => [name, String(request.headers[name])]),
    );
    const ask = async (target: string, body: unknown): Promise<Answered> => {
      const named = String(request.headers['x-amz-target']).replace(operation, target);
      const answered = await fetch(of.endpoint, {
        method: 'POST',
        headers: { ...headers, 'x-amz-target': named },
        body: JSON.stringify(body),
      });
      return { status: answered.status, text: await answered.text() };
    };
    const { status, text } = await this.#asked({ operation, asked, refusedUnits: of.refusedUnits }, ask);
    response.writeHead(status, { 'content-type': 'application/x-amz-json-1.0' }).end(text);
  }

  async #asked(of: { readonly operation: string; readonly asked: Asked; readonly refusedUnits: number }, ask: Ask): Promise<Answered> {
    const { operation, asked, refusedUnits } = of;
    if (FREE.test(operation)) return await ask(operation, asked);
    if (asked.Statements === undefined) {
      // The local store verifies no signature, so that more may be asked than was signed.
      const answered = await ask(operation, { ...asked, ReturnConsumedCapacity: 'TOTAL' });
      this.#count({ operation, asked, answer: JSON.parse(answered.text) as Answer, refusedUnits });
      return answered;
    }
    // Of statements the local store tells no units: each is sent by itself, and paid by the larger of its item before and after.
    const responses: unknown[] = [];
    for (const statement of asked.Statements) {
      const table = /"([^"]+)"/.exec(statement.Statement)?.[1] ?? 'several';
      const read = { TableName: table, Key: { id: idOf(statement) }, ConsistentRead: true };
      const sizeNow = async (): Promise<number> => sizeOf((JSON.parse((await ask('GetItem', read)).text) as { readonly Item?: Item }).Item);
      const before = await sizeNow();
      const { status, text } = await ask('ExecuteStatement', statement);
      const bytes = Math.max(before, await sizeNow());
      this.#add(table, { calls: responses.length === 0 ? 1 : 0, writeUnits: Math.max(1, Math.ceil(bytes / 1_024)), readUnits: 0 });
      const [, code = ''] = /#(\w+?)(?:Exception)?$/.exec((JSON.parse(text) as Answer).__type ?? '') ?? [];
      responses.push(status === 200 ? { TableName: table } : { TableName: table, Error: { Code: code } });
    }
    return { status: 200, text: JSON.stringify({ Responses: responses }) };
  }

  #count(of: { readonly operation: string; readonly asked: Asked; readonly answer: Answer; readonly refusedUnits: number }): void {
    const { operation, asked, answer, refusedUnits } = of;
    const told = [answer.ConsumedCapacity ?? []].flat();
    const isRead = READS.has(operation);
    const costs =
      told.length > 0 ? told : [{ TableName: asked.TableName ?? 'several', CapacityUnits: isRefused(answer) ? refusedUnits : 0 }];
    for (const { TableName = '', CapacityUnits = 0 } of costs) {
      this.#add(TableName, { calls: 1, writeUnits: isRead ? 0 : CapacityUnits, readUnits: isRead ? CapacityUnits : 0 });
    }
  }

  #add(table: string, more: Consumed): void {
    const before = this.#consumed.get(table) ?? NOTHING;
    this.#consumed.set(table, {
      calls: before.calls + more.calls,
      writeUnits: before.writeUnits + more.writeUnits,
      readUnits: before.readUnits + more.readUnits,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

type Answered = { readonly status: number; readonly text: string };
type Ask = (operation: string, body: unknown) => Promise<Answered>;
type Answer = { readonly __type?: string; readonly ConsumedCapacity?: ConsumedCapacity | readonly ConsumedCapacity[] };

function isRefused({ __type: type = '' }: Answer): boolean {
  return type.endsWith('ConditionalCheckFailedException');
}

/** Of the key column `id`, among the parameters. */
function idOf({ Statement: words, Parameters: parameters }: Statement): Value | undefined {
  const place = words.search(/["']id["'](?:: | = )\?/);
  return parameters[words.slice(0, place).split('?').length - 1];
}

/** "DynamoDB Item sizes and formats": names and texts by their bytes in UTF-8, numbers about a byte for two digits, others about one. */
function sizeOf(item: Item | undefined): number {
  let bytes = 0;
  for (const [name, { S, N, B }] of Object.entries(item ?? {})) {
    bytes +=
      Buffer.byteLength(name) + Buffer.byteLength(S ?? '') + Buffer.byteLength(B ?? '', 'base64') + Math.ceil((N?.length ?? 0) / 2) + 1;
  }
  return bytes;
}
