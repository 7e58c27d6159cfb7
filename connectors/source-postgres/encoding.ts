import type pg from 'pg';
import { present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import { BYTES, singleByteForm, utf8Form, type ByteForms, type TextForm } from './pgoutput/text.ts';

/**
 * The encoding of the source's database. A walsender that has to convert a text whose bytes have no UTF-8 form ends the stream
 * with an error, again at each attempt: one row would stop capture for ever (O4). So the stream asks for the database's own
 * encoding, which converts nothing, and the texts are decoded here, by the table of the server's own conversion.
 */
export type Encoding = {
  /** As the server calls it. */
  readonly name: string;
  /** Null for one that is not read: a character takes several bytes, and the server's tables for it are not to be had. */
  readonly form: TextForm | null;
  /** Bytes that no text may hold, as far as a table tells them. */
  readonly withoutForm: number;
};

export const UTF8: Encoding = { name: 'UTF8', form: utf8Form, withoutForm: 0 };

/** No encoding: texts are whatever bytes were written. What is UTF-8 by its form is taken for that. */
export const NO_ENCODING = 'SQL_ASCII';

const ASCII_COUNT = 128;

/** A byte that has no UTF-8 form is an error for each call, so they are asked one by one, in one round trip that logs nothing at the server. */
const READ_FORMS = `
DO $$
DECLARE
  forms text := '';
BEGIN
  FOR byte IN ${ASCII_COUNT} .. ${BYTES - 1} LOOP
    BEGIN
      forms := forms || pg_catalog.encode(pg_catalog.convert(
        pg_catalog.set_byte('\\x00'::bytea, 0, byte), pg_catalog.getdatabaseencoding(), 'UTF8'), 'hex');
    EXCEPTION WHEN untranslatable_character OR character_not_in_repertoire THEN
      NULL;
    END;
    forms := forms || ',';
  END LOOP;
  PERFORM pg_catalog.set_config('causeway.byte_forms', forms, false);
END
$$`;

/** The session has to be one with `valueSettings`: with another search_path a conversion of somebody else's could be found. */
export async function readEncoding(client: pg.ClientBase): Promise<Encoding> {
  const { rows } = await client.query<{ name: string; width: number }>(
    `SELECT pg_catalog.getdatabaseencoding()::text AS name,
       pg_catalog.pg_encoding_max_length(pg_catalog.pg_char_to_encoding(pg_catalog.getdatabaseencoding())) AS width`,
  );
  const { name, width } = present(rows[0], 'the encoding of the database');
  if (name === UTF8.name) return UTF8;
  if (name === NO_ENCODING) return { name, form: utf8Form, withoutForm: 0 };
  if (width !== 1) return { name, form: null, withoutForm: 0 };
  const forms = await readForms(client, name);
  return { name, form: singleByteForm(forms), withoutForm: forms.subarray(ASCII_COUNT).filter((unit) => unit === 0).length };
}

async function readForms(client: pg.ClientBase, encoding: string): Promise<ByteForms> {
  await client.query(READ_FORMS);
  const { rows } = await client.query<{ forms: string }>(`SELECT pg_catalog.current_setting('causeway.byte_forms') AS forms`);
  const upper = present(rows[0], 'the forms of the bytes').forms.split(',').slice(0, -1);
  const forms = Uint16Array.from({ length: BYTES }, (_, byte) => {
    if (byte < ASCII_COUNT) return byte;
    const text = Buffer.from(upper[byte - ASCII_COUNT] ?? '', 'hex').toString('utf8');
    if (text.length > 1) throw misread(encoding);
    return text === '' ? 0 : text.charCodeAt(0);
  });
  if (upper.length !== BYTES - ASCII_COUNT) throw misread(encoding);
  return forms;
}

function misread(encoding: string): CausewayError {
  return new CausewayError('source_misconfigured', `the server converts ${encoding} to UTF-8 otherwise than byte by byte`);
}

/** Errors: `source_misconfigured` for an encoding that cannot be read. */
export function formOf({ name, form }: Encoding): TextForm {
  if (form !== null) return form;
  throw new CausewayError(
    'source_misconfigured',
    `the encoding of the database is ${name}, in which a character takes several bytes: only UTF8 and encodings of single bytes can be read (PG-018)`,
  );
}
