import type { TableId, TableSchema } from '#core/schema.ts';

/** A column as a Relation message names it. */
export type RelationColumn = {
  readonly name: string;
  /** Part of the replica identity: its old value stands in the old tuple of updates that change the identity, and of deletes. */
  readonly inIdentity: boolean;
  /** `pg_type.oid`; for a domain the domain's own. */
  readonly typeOid: number;
  readonly typmod: number;
};

/** `d` the primary key, `n` nothing, `f` the whole row, `i` a named index: `pg_class.relreplident`. */
export type ReplicaIdentity = 'd' | 'n' | 'f' | 'i';

/** What a Relation message tells about a table, as of the place in the log where it stands. */
export type Relation = {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly replicaIdentity: ReplicaIdentity;
  /** The columns that the stream carries, in its order. */
  readonly columns: readonly RelationColumn[];
};

export type RelationResolution =
  /** `schema.columns[i]` describes `relation.columns[i]`, one for one: rows are decoded straight into that order. */
  | { readonly tag: 'captured'; readonly schema: TableSchema }
  /**
   * A partition whose changes are published under its root. The server describes it too, after the root, and it is the
   * partition's own replica identity that decides what its old tuples hold, so it has to cover the root's key as well.
   */
  | { readonly tag: 'partition'; readonly root: TableId; readonly rootKey: readonly string[] }
  /** Not a table of this pipeline. Its changes are dropped. */
  | { readonly tag: 'ignored' }
  /** A table of this pipeline that must not be captured any more (renamed, another key); the resolver has noted why. Its changes are dropped. */
  | { readonly tag: 'stopped'; readonly table: TableId; readonly reason: string };

/**
 * Knows what a Relation message leaves out: the types behind the oids, the primary key, nullability, constant defaults. The
 * stream waits while a relation is being resolved, so that no change is read under the wrong description.
 */
export interface RelationResolver {
  /** Rejects with `source_unavailable` where the catalogue cannot be asked: the stream then ends with that error. */
  resolve(relation: Relation, signal: AbortSignal): Promise<RelationResolution>;
  /**
   * The stream found that the table cannot be followed any more (its replica identity no longer covers the key, or a key
   * cannot be read). From here on its changes are dropped, and the next look at the tables refuses it too.
   */
  stopped(table: TableId, reason: string): void;
}
