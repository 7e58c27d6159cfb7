import { expect, test } from 'vitest';
import { configurationPage, errorsPage, jsonSchemaFile, metricsPage } from './generate.ts';

test.each([
  ['docs/errors.md', errorsPage],
  ['docs/metrics.md', metricsPage],
  ['docs/configuration.md', configurationPage],
  ['config/causeway.schema.json', jsonSchemaFile],
])('%s is what the code says (write it with `vitest run --project unit test/docs -u`)', async (file, make) => {
  await expect(await make()).toMatchFileSnapshot(`../../${file}`);
});
