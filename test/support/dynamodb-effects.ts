// What happened to the items of a table, each effect in order, from the table's own stream: nothing of the product takes part. Asked over
// plain HTTP, since the local store looks at no signature.
type Attribute = { readonly S?: string; readonly N?: string; readonly B?: string; readonly BOOL?: boolean; readonly NULL?: boolean };
type Image = Readonly<Record<string, Attribute>>;

export type Effect = {
  /** JSON of the key's attributes. */
  readonly key: string;
  /** In hex; null where the item has none, or is gone. */
  readonly sequence: string | null;
  readonly image: Image | null;
};

export type Place = {
  readonly endpoint: string;
  readonly region: string;
  /** The local store keeps the tables of each key apart. */
  readonly accessKeyId: string;
};

/** From here on each effect on the table is remembered. Before the first change. */
export async function rememberEffects(at: Place, table: string): Promise<void> {
  await ask(at, 'DynamoDB_20120810.UpdateTable', {
    TableName: table,
    StreamSpecification: { StreamEnabled: true, StreamViewType: 'NEW_IMAGE' },
  });
}

/** All of them, those of one item in the order in which they happened. */
export async function effectsOf(at: Place, table: string): Promise<readonly Effect[]> {
  const { Table } = await ask<{ readonly Table: { readonly LatestStreamArn: string } }>(at, 'DynamoDB_20120810.DescribeTable', {
    TableName: table,
  });
  const effects: Effect[] = [];
  for (const shard of await shardsOf(at, Table.LatestStreamArn)) {
    let { ShardIterator: from } = await ask<{ readonly ShardIterator: string | undefined }>(
      at,
      'DynamoDBStreams_20120810.GetShardIterator',
      {
        ...{ StreamArn: Table.LatestStreamArn, ShardId: shard, ShardIteratorType: 'TRIM_HORIZON' },
      },
    );
    while (from !== undefined) {
      const page: Page = await ask<Page>(at, 'DynamoDBStreams_20120810.GetRecords', { ShardIterator: from });
      effects.push(...page.Records.map(({ dynamodb }) => effectOf(dynamodb)));
      from = page.Records.length === 0 ? undefined : page.NextShardIterator;
    }
  }
  return effects;
}

type Page = { readonly Records: readonly { readonly dynamodb: Written }[]; readonly NextShardIterator?: string };
type Written = { readonly Keys: Image; readonly NewImage?: Image };

function effectOf({ Keys, NewImage }: Written): Effect {
  const bytes = NewImage?.['cw_seq']?.B;
  return {
    key: JSON.stringify(Object.fromEntries(Object.entries(Keys).sort(([a], [b]) => (a < b ? -1 : 1)))),
    sequence: bytes === undefined ? null : Buffer.from(bytes, 'base64').toString('hex'),
    image: NewImage ?? null,
  };
}

/** Parents before their children, as the manual has it. */
async function shardsOf(at: Place, arn: string): Promise<readonly string[]> {
  type Shard = { readonly ShardId: string; readonly ParentShardId?: string };
  const shards: Shard[] = [];
  let from: string | undefined;
  do {
    const { StreamDescription } = await ask<{
      readonly StreamDescription: { readonly Shards: readonly Shard[]; readonly LastEvaluatedShardId?: string };
    }>(at, 'DynamoDBStreams_20120810.DescribeStream', { StreamArn: arn, ...(from === undefined ? {} : { ExclusiveStartShardId: from }) });
    shards.push(...StreamDescription.Shards);
    from = StreamDescription.LastEvaluatedShardId;
  } while (from !== undefined);
  const depth = ({ ParentShardId }: Shard): number => {
    const parent = shards.find(({ ShardId }) => ShardId === ParentShardId);
    return parent === undefined ? 0 : depth(parent) + 1;
  };
  return shards.toSorted((a, b) => depth(a) - depth(b)).map(({ ShardId }) => ShardId);
}

/** Every item of the table, as it stands. */
export async function itemsOf(at: Place, table: string): Promise<readonly Image[]> {
  const items: Image[] = [];
  let from: Image | undefined;
  do {
    const page: { readonly Items: readonly Image[]; readonly LastEvaluatedKey?: Image } = await ask(at, 'DynamoDB_20120810.Scan', {
      TableName: table,
      ConsistentRead: true,
      ...(from === undefined ? {} : { ExclusiveStartKey: from }),
    });
    items.push(...page.Items);
    from = page.LastEvaluatedKey;
  } while (from !== undefined);
  return items;
}

async function ask<T>({ endpoint, region, accessKeyId }: Place, target: string, body: unknown): Promise<T> {
  const credential = `${accessKeyId}/20260101/${region}/dynamodb/aws4_request`;
  const response = await fetch(endpoint, {
    method: 'POST',
    headers: {
      'content-type': 'application/x-amz-json-1.0',
      'x-amz-target': target,
      'x-amz-date': '20260101T000000Z',
      authorization: `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=host, Signature=0`,
    },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${target}: ${text}`);
  return JSON.parse(text) as T;
}
