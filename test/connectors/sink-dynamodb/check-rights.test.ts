import { expect, test } from 'vitest';
import type { TableId } from '#core/schema.ts';
import { checkOwnRights, checkRights } from '../../../connectors/sink-dynamodb/check-rights.ts';
import type { Sender } from '../../../connectors/sink-dynamodb/client.ts';
import { configSchema } from '../../../connectors/sink-dynamodb/config.ts';
import { shapeOf } from '../../../connectors/sink-dynamodb/shape.ts';
import { plainSchema } from '../../contract/sink.ts';
import { realRuntime } from '../../support/test-runtime.ts';

const never = new AbortController().signal;

const config = configSchema.parse({ kind: 'dynamodb', region: 'eu-west-1', progressTable: 'own' });
const shape = shapeOf(plainSchema('public.t' as TableId), { config, pipeline: 'p', sink: 's', target: 'public.t' as TableId });

type Asked = { readonly constructor: { readonly name: string }; readonly input: unknown };

/** Answers each call by its name with an error's name, or not at all. */
function answering(answer: (call: string) => string | null) {
  const asked: string[] = [];
  const inputs: unknown[] = [];
  const send = (command: Asked): Promise<unknown> => {
    const call = command.constructor.name.replace('Command', '');
    asked.push(call);
    inputs.push(command.input);
    const name = answer(call);
    if (call === 'BatchExecuteStatement') return Promise.resolve({ Responses: [{ Error: { Code: name ?? 'ConditionalCheckFailed' } }] });
    if (name === null) return Promise.resolve({});
    return Promise.reject(
      Object.assign(new Error('no'), { name, $metadata: { httpStatusCode: name === 'InternalServerError' ? 500 : 400 } }),
    );
  };
  const client: Sender = { runtime: realRuntime(), send: (_what, signal, work) => work({ send } as never, signal) };
  return { asked, inputs, client };
}

async function findingWhere(answer: (call: string) => string | null, writes: 'batches' | 'single' = 'batches') {
  const { asked, client } = answering(answer);
  return { asked, finding: await checkRights({ client, config: { ...config, writes } }, shape, never) };
}

async function ownFindingWhere(answer: (call: string) => string | null) {
  const { asked, inputs, client } = answering(answer);
  return { asked, inputs, finding: await checkOwnRights({ client, config }, never) };
}

test('each right is asked for by a call of its own, and what is denied is named', async () => {
  const { asked, finding } = await findingWhere((call) => (call === 'PutItem' ? 'ConditionalCheckFailedException' : null));
  expect(finding).toMatchObject({ id: 'DD-003', level: 'ok', details: [] });
  expect(asked).toEqual(['GetItem', 'BatchGetItem', 'Scan', 'PutItem', 'BatchExecuteStatement']);
  const denied = await findingWhere((call) =>
    call === 'BatchExecuteStatement' ? 'AccessDenied' : call === 'GetItem' ? null : 'AccessDeniedException',
  );
  expect(denied.finding.level).toBe('error');
  expect(denied.finding.details).toEqual(
    ['BatchGetItem', 'Scan', 'PutItem', 'PartiQLUpdate'].map((action) => `dynamodb:${action} is not allowed`),
  );
  expect((await findingWhere(() => null, 'single')).asked).not.toContain('BatchExecuteStatement');
  await expect(findingWhere(() => 'InternalServerError')).rejects.toThrow('no');
});

test('each right on the progress table is asked for, and a condition that never holds stands before each write', async () => {
  const { asked, inputs, finding } = await ownFindingWhere((call) =>
    call === 'TransactWriteItems' ? 'TransactionCanceledException' : call === 'GetItem' ? null : 'ConditionalCheckFailedException',
  );
  expect(finding).toMatchObject({ id: 'DD-003', level: 'ok', title: 'progress of the table own may be read and written', details: [] });
  expect(asked).toEqual(['GetItem', 'Query', 'PutItem', 'TransactWriteItems', 'DeleteItem']);
  const writes = inputs.slice(2).map((input) => JSON.stringify(input));
  for (const write of writes) expect(write).toContain('"ConditionExpression":"attribute_exists(#key) AND attribute_not_exists(#key)"');
});

test('what is denied on the progress table is named; the right to delete is no need before the sink is removed', async () => {
  const denied = await ownFindingWhere(() => 'AccessDeniedException');
  expect(denied.finding.level).toBe('error');
  expect(denied.finding.details).toEqual(
    ['GetItem', 'Query', 'PutItem', 'ConditionCheckItem', 'DeleteItem'].map((action) => `dynamodb:${action} is not allowed`),
  );
  expect(denied.finding.mend.join()).toContain('dynamodb:ConditionCheckItem');
  const { finding } = await ownFindingWhere((call) => (call === 'DeleteItem' ? 'AccessDeniedException' : null));
  expect(finding).toMatchObject({ level: 'warning', details: ['dynamodb:DeleteItem is not allowed'] });
});
