/** One text, the same over every address that leads to a database: its cluster's identifier and its own. Names a row's only column `name`. */
export const DATABASE_NAME = `SELECT (pg_catalog.pg_control_system()).system_identifier::text || '/' || d.oid::text AS name
  FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()`;
