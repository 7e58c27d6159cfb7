import { expect, test } from 'vitest';
import type { TableId } from '#core/schema.ts';
import { checkRights } from '../../../connectors/sink-dynamodb/check-rights.ts';
import type { Sender } from '../../../connectors/sink-dynamodb/client.ts';
import { configSchema } from '../../../connectors/sink-dynamodb/config.ts';
import { shapeOf } from '../../../connectors/sink-dynamodb/shape.ts';
import { plainSchema } from '../../contract/sink.ts';
import { realRuntime } from '../../support/test-runtime.ts';

const never = new AbortController().signal;

/** Answers each call by its name with an error's name, or not at all. */
async function findingWhere(answer: (call: string) => string | null, writes = 'batches') {
  const config = configSchema.parse({ kind: 'dynamodb', region: 'eu-west-1', writes });
  const shape = shapeOf(plainSchema('public.t' as TableId), { config, pipeline: 'p', sink: 's', target: 'public.t' as TableId });
  const asked: string[] = [];
  const send = (command: object): Promise<unknown> => {
    const call = command.constructor.name.replace('Command', '');
    asked.push(call);
    const name = answer(call);
    if (call === 'BatchExecuteStatement') return Promise.resolve({ Responses: [{ Error: { Code: name ?? 'ConditionalCheckFailed' } }] });
    if (name === null) return Promise.resolve({});
    return Promise.reject(
      Object.assign(new Error('no'), { name, $metadata: { httpStatusCode: name === 'InternalServerError' ? 500 : 400 } }),
    );
  };
  const client: Sender = { runtime: realRuntime(), send: (_what, signal, work) => work({ send } as never, signal) };
  return { asked, finding: await checkRights({ client, config }, shape, never) };
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
