// A thread that answers like DynamoDB at once, and takes every write. It keeps the items of one table, the progress table of the sink, and
// says of any other that it holds all keys or none.
import { createServer, type IncomingMessage } from 'node:http';
import { parentPort, workerData } from 'node:worker_threads';

type Item = Readonly<Record<string, { readonly S?: string; readonly N?: string; readonly B?: string; readonly BOOL?: boolean }>>;
type Request = {
  readonly TableName?: string;
  readonly Item?: Item;
  readonly Key?: Item;
  readonly Statements?: readonly unknown[];
  readonly RequestItems?: Readonly<Record<string, { readonly Keys: readonly Item[] }>>;
  readonly TransactItems?: readonly { readonly Put?: { readonly Item: Item } }[];
};

/** What stands in a table that is updated: the values of a row, under any key. */
const { progressTable, standing } = workerData as { readonly progressTable: string; readonly standing: Item };
const own = new Map<string, Item>();
let holdsAll = false;
/** By the name of the call. */
let calls: Record<string, number> = {};

parentPort?.on('message', (message: { readonly holdsAll: boolean }) => {
  ({ holdsAll } = message);
  parentPort?.postMessage({ calls });
  calls = {};
});

const server = createServer((request, response) => {
  bodyOf(request)
    .then((body) => {
      const call = String(request.headers['x-amz-target']).split('.')[1] ?? '';
      calls[call] = (calls[call] ?? 0) + 1;
      response.setHeader('content-type', 'application/x-amz-json-1.0');
      response.end(answerTo(call, body));
    })
    .catch(() => response.destroy());
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  parentPort?.postMessage({ port: typeof address === 'object' ? address?.port : null });
});

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

function answerTo(call: string, body: Buffer): string {
  switch (call) {
    case 'BatchExecuteStatement':
      return JSON.stringify({ Responses: parsed(body).Statements?.map(() => ({ TableName: 'bench' })) });
    case 'BatchGetItem': {
      const [[table, { Keys }] = ['', { Keys: [] }]] = Object.entries(parsed(body).RequestItems ?? {});
      return JSON.stringify({ Responses: { [table]: holdsAll ? Keys.map((key) => ({ ...standing, ...key })) : [] } });
    }
    case 'DescribeTable':
      return tableOf(parsed(body).TableName ?? '');
    case 'GetItem':
      return JSON.stringify({ Item: own.get(placeOf(parsed(body).Key)) });
    case 'TransactWriteItems':
      for (const { Put } of parsed(body).TransactItems ?? []) if (Put !== undefined) own.set(placeOf(Put.Item), Put.Item);
      return '{}';
    case 'PutItem':
      if (body.includes(progressTable)) keep(parsed(body));
      return '{}';
    default:
      return '{}';
  }
}

function parsed(body: Buffer): Request {
  return JSON.parse(body.toString()) as Request;
}

function keep({ Item: item }: Request): void {
  if (item !== undefined) own.set(placeOf(item), item);
}

function placeOf(item: Item | undefined): string {
  return `${item?.['pk']?.S} ${item?.['sk']?.S}`;
}

function tableOf(name: string): string {
  const key = name === progressTable ? ['pk', 'sk'] : ['id'];
  return JSON.stringify({
    Table: {
      TableName: name,
      TableStatus: 'ACTIVE',
      TableArn: `arn:aws:dynamodb:eu-west-1:0:table/${name}`,
      TableId: name,
      AttributeDefinitions: key.map((one) => ({ AttributeName: one, AttributeType: one === 'id' ? 'N' : 'S' })),
      KeySchema: key.map((one, at) => ({ AttributeName: one, KeyType: at === 0 ? 'HASH' : 'RANGE' })),
    },
  });
}
