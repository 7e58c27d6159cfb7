// Stands before DynamoDB Local, and counts what is asked of each table and what that would cost.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Of one table. Units as the store tells them; a write whose condition failed is told by nobody, and counted by `refusedUnits`. */
export type Consumed = { readonly calls: number; readonly writeUnits: number; readonly readUnits: number };

type ConsumedCapacity = { readonly TableName?: string; readonly CapacityUnits?: number };
type Asked = { readonly TableName?: string; readonly TransactItems?: unknown; readonly Statements?: unknown };

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
    const isFree = FREE.test(operation);
    // The local store verifies no signature, so that more may be asked than was signed.
    const body = JSON.stringify(isFree ? asked : { ...asked, ReturnConsumedCapacity: 'TOTAL' });
    const headers = Object.fromEntries(
      ['content-type', 'x-amz-target', 'authorization', 'x-amz-date'].map((name) => [name, String(request.headers[name])]),
    );
    const answered = await fetch(of.endpoint, { method: 'POST', headers, body });
    const text = await answered.text();
    if (!isFree) this.#count({ operation, asked, answer: JSON.parse(text) as Answer, refusedUnits: of.refusedUnits });
    response.writeHead(answered.status, { 'content-type': 'application/x-amz-json-1.0' }).end(text);
  }

  #count(of: { readonly operation: string; readonly asked: Asked; readonly answer: Answer; readonly refusedUnits: number }): void {
    const { operation, asked, answer, refusedUnits } = of;
    const told = [answer.ConsumedCapacity ?? []].flat();
    const isRead = READS.has(operation);
    const costs =
      told.length > 0 ? told : [{ TableName: asked.TableName ?? 'several', CapacityUnits: isRefused(answer) ? refusedUnits : 0 }];
    for (const { TableName = '', CapacityUnits = 0 } of costs) {
      const before = this.#consumed.get(TableName) ?? NOTHING;
      this.#consumed.set(TableName, {
        calls: before.calls + 1,
        writeUnits: before.writeUnits + (isRead ? 0 : CapacityUnits),
        readUnits: before.readUnits + (isRead ? CapacityUnits : 0),
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

type Answer = { readonly __type?: string; readonly ConsumedCapacity?: ConsumedCapacity | readonly ConsumedCapacity[] };

function isRefused({ __type: type = '' }: Answer): boolean {
  return type.endsWith('ConditionalCheckFailedException');
}
