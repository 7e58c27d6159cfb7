import type { TableFingerprint } from '#core/control-rows.ts';
import { digest } from '#core/hash.ts';
import type { FingerprintVerdict } from '#core/source.ts';
import { primaryKeyOf, type CatalogueTable, type Partition } from './catalogue.ts';
import type { ColumnRow, MemberRow, PublicationRow } from './catalogue-queries.ts';
import type { Birth } from './partitions.ts';

/**
 * What a table looked like, for noticing what the stream does not show (invariant C9). Everything that is compared is part of the
 * hash; what changes by itself (how many rows a partition holds) is not.
 */
type TableFacts = {
  readonly format: number;
  readonly oid: string;
  readonly xmin: string;
  /** Owner, privileges, options, flags and counts of the row in pg_class: they explain why it moved. */
  readonly attributes: string;
  readonly file: string;
  readonly identity: string;
  readonly identityIndex: string | null;
  /** Column numbers, in the key's order. */
  readonly key: readonly number[];
  readonly columns: readonly ColumnFacts[];
  readonly types: readonly TypeFacts[];
  readonly partitions: readonly PartitionFacts[];
  readonly publication: PublicationFacts | null;
  readonly member: MemberFacts | null;
};

const FORMAT = 1;

type ColumnFacts = {
  readonly number: number;
  readonly name: string;
  readonly type: string;
  readonly typmod: number;
  readonly typeText: string;
  readonly notNull: boolean;
  readonly generated: boolean;
  readonly missing: string | null;
};

type TypeFacts = {
  readonly oid: string;
  readonly name: string;
  readonly labels: readonly string[];
  readonly members: readonly (readonly [string, string, number])[];
};

type PartitionFacts = {
  readonly oid: string;
  readonly parent: string;
  readonly name: string;
  readonly attachedBy: string;
  readonly birth: Birth;
  readonly xmin: string;
  readonly attributes: string;
  readonly file: string;
  readonly identity: string;
};

type PublicationFacts = {
  readonly oid: string;
  readonly xmin: string;
  readonly owner: string;
  readonly allTables: boolean;
  readonly viaRoot: boolean;
  readonly actions: string;
  readonly generated: boolean;
};

type MemberFacts = {
  readonly oid: string | null;
  readonly xmin: string | null;
  readonly filter: string | null;
  readonly columns: readonly number[] | null;
};

/** What is stored: the facts, and which partitions held rows at that moment. */
type StoredFacts = {
  readonly facts: TableFacts;
  readonly partitionsWithBytes: readonly string[];
  /** Names that columns had and lost while the table was captured: a sink may still hold values under them. */
  readonly formerNames?: readonly string[] | undefined;
};

export function fingerprintOf(table: CatalogueTable, publication: PublicationRow | null): TableFingerprint {
  const facts: TableFacts = {
    format: FORMAT,
    oid: table.relation.oid,
    xmin: table.relation.xmin,
    attributes: table.relation.attributes,
    file: table.relation.file,
    identity: table.relation.identity,
    identityIndex: table.indexes.find(({ is_identity }) => is_identity)?.index ?? null,
    key: primaryKeyOf(table)?.key ?? [],
    columns: table.published.map(columnFacts),
    types: table.userTypes.map(({ oid, name, labels, members }) => ({ oid, name, labels, members })),
    partitions: table.partitions.map(partitionFacts),
    publication: publication === null ? null : publicationFacts(publication),
    member: table.member === null ? null : memberFacts(table.member),
  };
  const stored: StoredFacts = {
    facts,
    partitionsWithBytes: table.partitions.filter(({ relation }) => relation.bytes !== '0').map(({ relation }) => relation.oid),
  };
  return { hash: digest(JSON.stringify(facts)), facts: stored, relation: facts.oid };
}

function columnFacts(column: ColumnRow): ColumnFacts {
  const { number, name, type, typmod, missing } = column;
  return { number, name, type, typmod, typeText: column.type_text, notNull: column.not_null, generated: column.generated !== '', missing };
}

function partitionFacts({ relation, node, birth }: Partition): PartitionFacts {
  const { oid, xmin, attributes, file, identity } = relation;
  const name = `${relation.schema}.${relation.name}`;
  return { oid, parent: node.parent, name, attachedBy: node.attached_by, birth, xmin, attributes, file, identity };
}

function publicationFacts(row: PublicationRow): PublicationFacts {
  const actions = [row.inserts && 'insert', row.updates && 'update', row.deletes && 'delete', row.truncates && 'truncate'];
  return {
    oid: row.oid,
    xmin: row.xmin,
    owner: row.owner,
    allTables: row.all_tables,
    viaRoot: row.via_root,
    actions: actions.filter((action) => action !== false).join(', '),
    generated: row.generated,
  };
}

function memberFacts({ oid, xmin, filter, columns }: MemberRow): MemberFacts {
  return { oid, xmin, filter, columns };
}

/** From the least to the gravest. */
const GRAVITY = ['harmless', 'reconcile', 'resync_required', 'stopped'] as const;
type Gravity = (typeof GRAVITY)[number];
type Difference = { readonly gravity: Gravity; readonly text: string; readonly isFile?: boolean };

/** All differences, of which the gravest decides. */
export function compareFingerprints(stored: TableFingerprint, current: TableFingerprint, truncatedBy: string | null): FingerprintVerdict {
  if (stored.hash === current.hash) return { tag: 'same' };
  const before = storedFacts(stored);
  const after = storedFacts(current);
  if (before === null || after === null) {
    return { tag: 'reconcile', text: 'the stored description of the table is of another release, so what changed meanwhile is not known' };
  }
  const differences = differencesBetween(before, after, truncatedBy);
  const keep = withFormerNames(current, before, after);
  const gravest = GRAVITY.findLast((gravity) => differences.some((difference) => difference.gravity === gravity));
  if (gravest === undefined) return { tag: 'harmless', text: 'a detail of the catalogue changed', keep };
  const found = differences.filter(({ gravity }) => gravity === gravest);
  const text = found.map((difference) => difference.text).join('; ');
  if (gravest === 'reconcile') return { tag: gravest, text, onlyFiles: found.every(({ isFile }) => isFile === true), keep };
  return { tag: gravest, text, keep };
}

/** Undefined where nothing is to be remembered. */
function withFormerNames(current: TableFingerprint, before: StoredFacts, after: StoredFacts): TableFingerprint | undefined {
  // Another table under the same name is loaded anew.
  if (before.facts.oid !== after.facts.oid) return undefined;
  const gone = before.facts.columns.filter(
    ({ number, name }) => !after.facts.columns.some((now) => now.number === number && now.name === name),
  );
  const formerNames = [...new Set([...(before.formerNames ?? []), ...gone.map(({ name }) => name)])];
  return formerNames.length === 0 ? undefined : { ...current, facts: { ...after, formerNames } };
}

function storedFacts(fingerprint: TableFingerprint): StoredFacts | null {
  const { facts } = fingerprint;
  if (typeof facts !== 'object' || facts === null || !('facts' in facts)) return null;
  const stored = facts as StoredFacts;
  return stored.facts.format === FORMAT ? stored : null;
}

function differencesBetween(known: StoredFacts, stored: StoredFacts, truncatedBy: string | null): readonly Difference[] {
  const before = known.facts;
  const after = stored.facts;
  // Another table under the same name: nothing else is worth comparing.
  if (before.oid !== after.oid) return [grave('resync_required', 'the table was dropped and made again, or another one took its name')];
  const rewritten = rewrittenFiles(before, after);
  const seen = [
    ...keyDifferences(before, after),
    ...columnDifferences(before, after, rewritten.length > 0),
    ...reusedNames(known, after),
    ...typeDifferences(before.types, after.types),
    ...partitionDifferences(before, stored),
    ...rewritten.map((file) => otherFile(file, truncatedBy)),
  ];
  const moved = seen.length === 0 && before.xmin !== after.xmin ? [movedRow(before, after)] : [];
  return [...seen, ...moved, ...publicationDifferences(before.publication, after.publication), ...memberDifferences(before, after)];
}

/** The row in pg_class is another one, which only something done to the table itself brings about: VACUUM and ANALYZE write in place. */
function movedRow(before: TableFacts, after: TableFacts): Difference {
  return before.attributes === after.attributes
    ? grave('reconcile', 'the table was altered without a visible difference: it may have been renamed away and back')
    : grave('harmless', 'the owner, privileges, options or number of columns of the table changed');
}

function grave(gravity: Gravity, text: string): Difference {
  return { gravity, text };
}

/** Whatever gives a table another file changes its row in pg_class: what came behind the truncate would stand there instead of it. */
function otherFile({ name, xmin }: Rewritten, truncatedBy: string | null): Difference {
  if (xmin === truncatedBy) return grave('harmless', `${name} was truncated, as the stream has shown`);
  return { gravity: 'reconcile', text: `${name} was rewritten or truncated: it has another file`, isFile: true };
}

/** `xmin`: the transaction that changed its row in pg_class last. */
type Rewritten = { readonly name: string; readonly xmin: string };

function rewrittenFiles(before: TableFacts, after: TableFacts): readonly Rewritten[] {
  const found: Rewritten[] = before.file === after.file ? [] : [{ name: 'the table', xmin: after.xmin }];
  for (const partition of after.partitions) {
    const was = before.partitions.find(({ oid }) => oid === partition.oid);
    if (was !== undefined && was.file !== partition.file) found.push({ name: `partition ${partition.name}`, xmin: partition.xmin });
  }
  return found;
}

function keyDifferences(before: TableFacts, after: TableFacts): readonly Difference[] {
  const differences: Difference[] = [];
  if (JSON.stringify(before.key) !== JSON.stringify(after.key)) differences.push(grave('stopped', 'the table has another primary key'));
  if (before.identity !== after.identity || before.identityIndex !== after.identityIndex) {
    // A table whose identity lacks the key is refused before it gets here.
    differences.push(
      grave('harmless', `the replica identity changed from ${before.identity} to ${after.identity}, and still holds the key`),
    );
  }
  return differences;
}

function columnDifferences(before: TableFacts, after: TableFacts, rewritten: boolean): readonly Difference[] {
  const differences: Difference[] = [];
  const old = new Map(before.columns.map((column) => [column.number, column]));
  for (const column of after.columns) {
    const was = old.get(column.number);
    old.delete(column.number);
    if (was === undefined) differences.push(addedColumn(column, rewritten));
    else differences.push(...changedColumn(was, column));
  }
  for (const column of old.values()) differences.push(grave('harmless', `column ${column.name} was dropped, or is no longer published`));
  return differences;
}

/**
 * A column is told from another one by its number, and at a sink by its name. One that takes over the name of another finds that
 * one's values there, in every row that no event has shown since. Its schema can have the very version that it had before.
 */
function reusedNames(known: StoredFacts, after: TableFacts): readonly Difference[] {
  const { columns } = known.facts;
  return after.columns
    .filter(({ number, name }) => !columns.some((was) => was.number === number && was.name === name))
    .filter(({ name }) => columns.some((was) => was.name === name) || known.formerNames?.includes(name) === true)
    .map(({ name }) => grave('resync_required', `another column had the name ${name} before: sinks still hold the values of that one`));
}

function addedColumn(column: ColumnFacts, rewritten: boolean): Difference {
  if (column.generated) return grave('resync_required', `the generated column ${column.name} was added: no event showed its values`);
  // A value for every row that is not stored once, in the catalogue, is written into the rows, which gives the table another file.
  if (rewritten) return grave('resync_required', `column ${column.name} was added with values that no event showed`);
  if (column.missing !== null) return grave('harmless', `column ${column.name} was added with a constant default`);
  return grave('harmless', `column ${column.name} was added; it is null in the rows from before`);
}

function changedColumn(before: ColumnFacts, after: ColumnFacts): readonly Difference[] {
  if (before.type !== after.type || before.typmod !== after.typmod) {
    return [
      grave(
        'resync_required',
        `column ${after.name} changed its type from ${before.typeText} to ${after.typeText}: no event showed its new values`,
      ),
    ];
  }
  const differences: Difference[] = [];
  if (before.name !== after.name) differences.push(grave('harmless', `column ${before.name} was renamed to ${after.name}`));
  if (before.typeText !== after.typeText)
    differences.push(grave('harmless', `the type ${before.typeText} was renamed to ${after.typeText}`));
  if (before.notNull !== after.notNull)
    differences.push(grave('harmless', `column ${after.name} became ${after.notNull ? 'NOT NULL' : 'nullable'}`));
  if (before.missing !== after.missing)
    differences.push(grave('harmless', `the stored default of column ${after.name} is no longer needed`));
  return differences;
}

function typeDifferences(before: readonly TypeFacts[], after: readonly TypeFacts[]): readonly Difference[] {
  const differences: Difference[] = [];
  for (const type of after) {
    const was = before.find(({ oid }) => oid === type.oid);
    if (was === undefined) continue;
    if (JSON.stringify(was.labels) !== JSON.stringify(type.labels)) {
      differences.push(grave('resync_required', `the labels of the enum ${type.name} changed: rows may hold other ones without an event`));
    }
    if (JSON.stringify(was.members) !== JSON.stringify(type.members)) {
      differences.push(grave('resync_required', `the members of the composite type ${type.name} changed: no event showed the new values`));
    }
  }
  return differences;
}

function partitionDifferences(before: TableFacts, stored: StoredFacts): readonly Difference[] {
  const after = stored.facts;
  const differences: Difference[] = [];
  const old = new Map(before.partitions.map((partition) => [partition.oid, partition]));
  for (const partition of after.partitions) {
    const was = old.get(partition.oid);
    old.delete(partition.oid);
    if (was === undefined || was.attachedBy !== partition.attachedBy) differences.push(attachedPartition(partition, before, stored));
    else if (was.name !== partition.name) differences.push(grave('harmless', `partition ${was.name} was renamed to ${partition.name}`));
    else if (was.attributes !== partition.attributes || was.identity !== partition.identity) {
      differences.push(grave('harmless', `the owner, privileges, options or number of columns of partition ${partition.name} changed`));
    } else if (was.xmin !== partition.xmin && was.file === partition.file) {
      differences.push(grave('reconcile', `partition ${partition.name} was altered without a visible difference`));
    }
  }
  for (const partition of old.values())
    differences.push(grave('reconcile', `partition ${partition.name} was detached or dropped with its rows`));
  return differences;
}

/** Rows that a partition brought with it never stood in the stream. One that was made as a partition brought none. */
function attachedPartition(partition: PartitionFacts, before: TableFacts, stored: StoredFacts): Difference {
  const birth = birthInTree(partition, before, stored.facts);
  if (birth === 'as_partition') return grave('harmless', `partition ${partition.name} was made`);
  if (!stored.partitionsWithBytes.includes(partition.oid)) return grave('harmless', `the empty partition ${partition.name} was attached`);
  if (birth === 'unknown') {
    return grave(
      'reconcile',
      `partition ${partition.name} was made, and the role may not look whether it brought rows: GRANT SELECT on it`,
    );
  }
  return grave('resync_required', `partition ${partition.name} was attached with rows that no event showed`);
}

/** A partition can also have come with a whole tree that was attached. */
function birthInTree(partition: PartitionFacts, before: TableFacts, after: TableFacts): Birth {
  if (partition.birth !== 'as_partition') return partition.birth;
  const parent = after.partitions.find(({ oid }) => oid === partition.parent);
  const parentWasThere =
    parent !== undefined && before.partitions.some(({ oid, attachedBy }) => oid === parent.oid && attachedBy === parent.attachedBy);
  return parent === undefined || parentWasThere ? 'as_partition' : birthInTree(parent, before, after);
}

function publicationDifferences(before: PublicationFacts | null, after: PublicationFacts | null): readonly Difference[] {
  if (before === null && after === null) return [];
  if (after === null) return [grave('resync_required', 'the publication is gone: changes since then are not in the stream')];
  if (before?.oid !== after.oid)
    return [grave('resync_required', 'the publication was made again: changes in between are not in the stream')];
  const differences: Difference[] = [];
  if (before.actions !== after.actions) {
    differences.push(
      grave('resync_required', `the publication sent ${before.actions || 'nothing'} and sends ${after.actions || 'nothing'}`),
    );
  }
  if (before.viaRoot !== after.viaRoot) differences.push(grave('resync_required', 'publish_via_partition_root of the publication changed'));
  if (before.generated !== after.generated) differences.push(grave('harmless', 'publish_generated_columns of the publication changed'));
  if (before.owner !== after.owner) differences.push(grave('harmless', 'the publication has another owner'));
  // Whether all tables are in it shows at each table's membership.
  if (differences.length === 0 && before.allTables === after.allTables && before.xmin !== after.xmin) {
    differences.push(grave('reconcile', 'the publication was altered and set back: changes in between may not be in the stream'));
  }
  return differences;
}

function memberDifferences(facts: TableFacts, other: TableFacts): readonly Difference[] {
  const before = facts.member;
  const after = other.member;
  // A publication that is another one says it all.
  if ((before === null && after === null) || facts.publication?.oid !== other.publication?.oid) return [];
  if (after === null) return [grave('resync_required', 'the table left the publication: its changes are not in the stream')];
  if (before?.oid !== after.oid)
    return [grave('resync_required', 'the table left the publication and came back: changes in between are not in the stream')];
  const differences: Difference[] = [];
  if (before.filter !== after.filter) differences.push(grave('resync_required', 'the row filter of the table in the publication changed'));
  if (JSON.stringify(before.columns) !== JSON.stringify(after.columns)) {
    differences.push(grave('resync_required', 'the column list of the table in the publication changed'));
  }
  if (differences.length === 0 && before.xmin !== after.xmin) {
    differences.push(grave('reconcile', "the table's row in the publication was altered and set back"));
  }
  return differences;
}
