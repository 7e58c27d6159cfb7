import { expect, test } from 'vitest';
import { connectors } from '../../connectors/registry.ts';
import { configurationPage, errorsPage, jsonSchemaFile, metricsPage, typesPage } from './generate.ts';
import { sinkCases } from './mapping/catalogue.ts';
import { sinkMappings } from './mapping/page.ts';
import { capturable } from './mapping/source-postgres.ts';
import { refusalOf } from '../../connectors/source-postgres/refusals.ts';

test.each([
  ['docs/errors.md', errorsPage],
  ['docs/metrics.md', metricsPage],
  ['docs/types.md', typesPage],
  ['docs/configuration.md', configurationPage],
  ['config/causeway.schema.json', jsonSchemaFile],
])('%s is what the code says (write it with `vitest run --project unit test/docs -u`)', async (file, make) => {
  await expect(await make()).toMatchFileSnapshot(`../../${file}`);
});

test('every kind of sink tells how it keeps types, each canonical type among them', () => {
  expect([...new Set(sinkMappings.map(({ kind }) => kind))].toSorted()).toEqual(Object.keys(connectors.sink).toSorted());
  const all = ['array', 'bit', 'bool', 'bytes', 'date', 'decimal', 'enum', 'float', 'int', 'interval', 'json', 'other', 'text', 'time'];
  const tags = new Set(sinkCases.map(({ type }) => type.tag));
  expect([...tags].toSorted()).toEqual([...all, 'timestamp', 'timestamptz', 'uuid']);
});

test('the table whose breaches are told as refusals is refused by none itself', () => {
  expect(refusalOf(capturable)).toBeNull();
});
