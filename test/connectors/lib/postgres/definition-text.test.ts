import { expect, test } from 'vitest';
import { topLevelIndexOf, withoutTopLevel } from '../../../../connectors/lib/postgres/definition-text.ts';

test('what stands in quotes or parentheses is not found', () => {
  const name = 'CREATE INDEX "a USING ""b" ON public.t ';
  const found = (definition: string): string => definition.slice(topLevelIndexOf(definition, ' USING '));
  expect(found(`${name} USING btree (a)`)).toBe(' USING btree (a)');
  expect(found(`CREATE INDEX i ON public."t USING x" USING btree ((a || ' USING '::text))`)).toBe(` USING btree ((a || ' USING '::text))`);
  expect(topLevelIndexOf(`CHECK ((a <> ' USING '''::text))`, ' USING ')).toBe(-1);
  expect(topLevelIndexOf(`((f(' ) USING ')) )`, ' USING ')).toBe(-1);
  expect(found(`f(E'\\\\', "x") USING y`)).toBe(' USING y');
});

test('one part is taken out, and only there', () => {
  const part = ' NULLS NOT DISTINCT';
  const before = `USING btree ((a || ' NULLS NOT DISTINCT'::text)) INCLUDE (b)`;
  const after = ` WITH (fillfactor='70') WHERE (b <> ' NULLS NOT DISTINCT'::text)`;
  expect(withoutTopLevel(before + part + after, part)).toBe(before + after);
  expect(withoutTopLevel(before + after, part)).toBe(before + after);
});
