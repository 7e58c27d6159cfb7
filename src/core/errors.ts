/**
 * `timed`: tried again with backoff, for as long as it lasts. `manual`: a state that waits for a person or for a fact to
 * change; looked at again now and then. `fatal`: the process ends, because recovery inside it cannot be proved.
 */
export type Retry = 'timed' | 'manual' | 'fatal';

type ErrorEntry = {
  readonly retry: Retry;
  /** What an operator reads: what it means and how it is mended. Also the text of docs/errors.md. */
  readonly meaning: string;
  readonly mend: string;
};

/** Every error that Causeway gives a name. Connectors map their drivers' codes to these, by code and never by text. */
export const errorTable = {
  config_invalid: {
    retry: 'manual',
    meaning: 'The configuration file cannot be used. The message names the file, the line and the path of each mistake.',
    mend: 'Correct the file; `causeway config validate` shows what is left.',
  },
  usage: { retry: 'manual', meaning: 'The command line cannot be understood.', mend: 'See `causeway help <command>`.' },
  refused: {
    retry: 'manual',
    meaning: 'A safety interlock refused the command; nothing was changed.',
    mend: 'The message names what has to be true first, or the flag that confirms.',
  },
  reconcile_inconclusive: {
    retry: 'manual',
    meaning:
      'Source and sink could not be compared at one common place, so that nothing is said of them: neither that they are the same nor that they differ.',
    mend: 'The message names what was waited for. Nothing was changed; `causeway reconcile run` compares again.',
  },
  source_unavailable: {
    retry: 'timed',
    meaning: 'The source cannot be reached, refused the connection, or ended it.',
    mend: 'Nothing is lost: capture goes on where it stopped. Look at the server and the network; `causeway check --only source` tells more.',
  },
  source_misconfigured: {
    retry: 'manual',
    meaning: 'A setting of the source keeps capture from working, for example wal_level.',
    mend: '`causeway check --only source` prints each setting with the statement that mends it.',
  },
  source_permission: {
    retry: 'manual',
    meaning: 'The role lacks a privilege at the source.',
    mend: 'docs/privileges.md holds the GRANTs as one block; `causeway check --only source` names what is missing.',
  },
  source_credentials: {
    retry: 'timed',
    meaning: 'The source refused the login or its certificate could not be verified.',
    mend: 'Correct the password file or `source.tls`; secret files are read again at each connection.',
  },
  source_version: {
    retry: 'manual',
    meaning: 'The source is older than PostgreSQL 14 or not a supported server.',
    mend: 'Upgrade the source.',
  },
  source_table_refused: {
    retry: 'manual',
    meaning: 'A configured table cannot be captured: no usable key, a type without lossless mapping, unlogged or foreign.',
    mend: 'The message names the table and the statement that mends it, or exclude it with `!schema.table`.',
  },
  source_slot_in_use: {
    retry: 'timed',
    meaning: 'Another connection holds the replication slot and did not end when asked to.',
    mend: 'Two pipelines must not share a slot; see `causeway slot list`. The connection is asked again.',
  },
  source_slot_lost: {
    retry: 'manual',
    meaning: 'The slot is missing, was made again, was invalidated, or stands ahead of the checkpoint: changes are missing in between.',
    mend: 'The tables must be loaded again: docs/resync.md has the commands in order, beginning with `causeway pipeline remove`.',
  },
  source_identity_changed: {
    retry: 'manual',
    meaning: 'The source is another server, or the same one with another history (a failover, a restore).',
    mend: 'The tables must be loaded again: docs/resync.md has the commands in order.',
  },
  source_stream_invalid: {
    retry: 'manual',
    meaning: 'The source sent a message that cannot be decoded. Nothing is skipped: capture stands before it.',
    mend: 'Report it with the message type that the error names. The slot keeps the log meanwhile: watch causeway_source_retained_bytes.',
  },
  log_unavailable: {
    retry: 'timed',
    meaning: 'The log cannot be reached or did not answer.',
    mend: 'Nothing is lost: the source keeps what is not yet durable.',
  },
  log_credentials: {
    retry: 'timed',
    meaning: 'The log refused the login, or its certificate could not be verified.',
    mend: 'Correct `log.sasl`, its files, or `log.tls`; the files are read again at each connection.',
  },
  log_permission: {
    retry: 'manual',
    meaning: 'The user lacks a right to the topics or consumer groups of the log.',
    mend: 'docs/privileges.md lists the rights, with the `kafka-acls` command for each.',
  },
  log_topic_missing: {
    retry: 'manual',
    meaning: 'The topic of the log is not there, or the user may not see it.',
    mend: 'Where it was never made, give the user the right to create it or run the command in the message. If it was deleted: docs/resync.md.',
  },
  log_misconfigured: {
    retry: 'manual',
    meaning: 'A setting of the topic, or of the brokers, keeps the log from being safe, or the brokers refuse what is asked of them.',
    mend: 'The message names the setting, what it has to be, and the command that mends it.',
  },
  log_unproved: {
    retry: 'fatal',
    meaning:
      'The log answered a write in a way that does not prove it: for another partition, at an offset that did not rise, or out of ' +
      'sequence. Its topic may have been made again or have lost records.',
    mend: 'None needed: the process ends, and what the log really holds is looked at when it starts again.',
  },
  log_full: {
    retry: 'timed',
    meaning: 'The embedded log is at bytesMax, because a sink is behind, or its disk is full. Capture waits and the source keeps its log.',
    mend: 'Bring the sink back, raise `log.bytesMax`, free disk, or give the sink up with `causeway pipeline remove --sink`.',
  },
  log_damaged: {
    retry: 'manual',
    meaning: 'The log file is damaged.',
    mend: 'Restore it from its disk, or load again: docs/resync.md. Nothing is read past the damage.',
  },
  log_foreign: {
    retry: 'manual',
    meaning: 'The log belongs to another pipeline or program, or has the format of another release.',
    mend: 'Give the pipeline a file or a topic of its own (`log.path`, `log.topic`). One of another release is read by that release alone: see CHANGELOG.md.',
  },
  log_partitions_changed: {
    retry: 'manual',
    meaning: 'The number of partitions differs from the one that the log was made with. Keys would move between partitions.',
    mend: 'Set `log.partitions` back.',
  },
  log_offset_gone: {
    retry: 'manual',
    meaning: 'Records that a sink still needs are no longer in the log.',
    mend: 'The sink must be loaded again: docs/resync.md.',
  },
  log_gap: {
    retry: 'manual',
    meaning: 'A partition of the log lacks records: a counter was jumped, or a tail that had been acknowledged is missing.',
    mend: 'The sink must be loaded again: docs/resync.md.',
  },
  log_record_invalid: {
    retry: 'manual',
    meaning: 'The log holds something that is not a record of ours.',
    mend: 'Nothing is skipped. Find who writes to the log.',
  },
  log_format_unknown: {
    retry: 'manual',
    meaning: 'A record in the log has a format that this release does not know. Nothing is skipped.',
    mend: 'Run the release that wrote it, or a newer one: docs/upgrade.md.',
  },
  log_schema_unknown: {
    retry: 'manual',
    meaning: 'A change names a schema version that neither the log nor the control store has shown.',
    mend: 'The sink must be loaded again: docs/resync.md.',
  },
  control_unavailable: {
    retry: 'timed',
    meaning: 'The control store cannot be reached. Capture goes on until its lease ends; apply needs no lease and goes on.',
    mend: 'Bring the control store back. The message says what could not be reached; `causeway check --only control` looks again.',
  },
  control_credentials: {
    retry: 'timed',
    meaning: 'The control store refused the login, its certificate could not be verified, or the identity lacks a right.',
    mend: 'docs/control-stores.md holds the rights of each kind as one block; secret files are read again at each connection.',
  },
  control_misconfigured: {
    retry: 'manual',
    meaning: 'The control store lacks its table, is set up so that it could lose rows, or is in a database that is failed over.',
    mend: 'The message holds the statement or the command that mends it; docs/control-stores.md tells more.',
  },
  control_row_too_large: {
    retry: 'manual',
    meaning: 'A row is larger than this kind of control store takes. The rows of tables grow with their columns and schema versions.',
    mend: 'Use a control store without that limit: docs/control-stores.md compares them and tells how to move.',
  },
  control_damaged: {
    retry: 'manual',
    meaning: 'The control store is damaged, or holds a row that cannot be read.',
    mend: 'Restore it; if it is lost, `causeway lease raise --above N` and docs/resync.md tell how to go on.',
  },
  control_foreign: {
    retry: 'manual',
    meaning: 'What stands at the place of the control store is not ours, or has the format of another release.',
    mend: 'Give the control store a file, schema, table or name of its own. One of another release is read by that release alone: see CHANGELOG.md.',
  },
  control_format_unknown: {
    retry: 'manual',
    meaning: 'A row in the control store has a format that this release does not know. Nothing was changed.',
    mend: 'Run the release that wrote it, or a newer one: docs/upgrade.md.',
  },
  generation_behind: {
    retry: 'manual',
    meaning: 'The log holds a generation or epoch at or above the one that the control store gave out: the store was lost or restored.',
    mend:
      'Run the command in the message: `causeway lease raise --above N`, with `--epoch` for an epoch, after which each table has to be loaded ' +
      'again. If the checkpoint is lost too: docs/resync.md.',
  },
  checkpoint_lost: {
    retry: 'manual',
    meaning: 'The slot or the log is there but the control store has no checkpoint for it.',
    mend: 'Where another deployment captures under the same name, give this pipeline a name of its own. Otherwise the tables must be loaded again: docs/resync.md.',
  },
  log_truncated: {
    retry: 'manual',
    meaning: 'The log ends before what the checkpoint had acknowledged: it was truncated, restored or made again.',
    mend: 'The tables must be loaded again: docs/resync.md.',
  },
  lease_held: {
    retry: 'manual',
    meaning: 'Another process does the same work at this moment, and nothing was done beside it.',
    mend: 'Wait until it is through. A job that is started by a schedule may be started twice: the second one ends with this.',
  },
  lease_lost: {
    retry: 'fatal',
    meaning: 'Another process took the capture lease.',
    mend: 'None needed: this process ends and starts again as a standby.',
  },
  fenced: { retry: 'fatal', meaning: 'A newer holder exists: a greater token was seen.', mend: 'None needed.' },
  partition_fenced: { retry: 'timed', meaning: 'Another worker was given the partition; its own batches go on.', mend: 'None needed.' },
  sink_unavailable: {
    retry: 'timed',
    meaning: 'The sink cannot be reached, or ended the connection.',
    mend: 'Nothing is lost: the log keeps what is not applied.',
  },
  sink_credentials: {
    retry: 'timed',
    meaning: 'The sink refused the login or its certificate could not be verified.',
    mend:
      'Correct the password file, the key file (`keyFile`) or `tls`; secret files are read again at each connection. At a cloud provider: the credentials, the role and ' +
      'whom it trusts, the region they are good for.',
  },
  sink_region: {
    retry: 'timed',
    meaning:
      'No server has the name that the region or the endpoint of the sink makes, or a table tells of another region than the configured one.',
    mend: 'Correct `region` or `endpoint` of the sink. Where they are right, names cannot be looked up: bring that back, nothing is lost.',
  },
  sink_throttled: { retry: 'timed', meaning: 'The sink asks for fewer writes.', mend: 'None needed; raise its capacity if lag grows.' },
  sink_misconfigured: {
    retry: 'manual',
    meaning:
      'The sink lacks a table, a column, a right or space, or has a constraint or trigger that rows arriving in another order violate.',
    mend: '`causeway check --only sink` prints the DDL that mends it.',
  },
  sink_claimed: {
    retry: 'manual',
    meaning:
      'What the sink keeps for this pipeline and sink name belongs to another deployment: one with another control store, or this one before ' +
      'its control store was lost. Nothing was written.',
    mend:
      'Give the pipeline or the sink a name of its own. Where the other deployment is gone for good, ' +
      '`causeway pipeline remove --sink --owner` with the owner that the message names frees the sink; then load again: docs/resync.md.',
  },
  sink_failed: {
    retry: 'manual',
    meaning:
      'The sink stopped at an error that Causeway has no code for: an answer of the store, or a defect of its client or of ours. The other sinks and ' +
      'capture go on, and nothing is lost: the log keeps what is not applied.',
    mend:
      'None where it passes: the sink is tried again every ten seconds, and at each start, from its own progress. Otherwise report the log ' +
      'line with its `cause` and `stack`; `causeway check --only sink` looks at the store.',
  },
  sink_went_back: {
    retry: 'timed',
    meaning: 'The sink lost commits that it had confirmed (it failed over or was restored).',
    mend: "None needed: the partition starts over from the sink's own progress. If the log no longer reaches back to it, log_offset_gone follows.",
  },
  sink_table_replaced: {
    retry: 'manual',
    meaning:
      "A table of the sink is not the one that the sink's progress belongs to: it was restored, made again, or stands in another region. Rows " +
      'can be missing in it, and nothing was written.',
    mend: 'The sink must be loaded again: docs/resync.md.',
  },
  sink_unknown_progress: {
    retry: 'manual',
    meaning: 'A sink that was known has lost its progress.',
    mend: 'The sink must be loaded again: docs/resync.md.',
  },
  schema_blocked: {
    retry: 'manual',
    meaning: 'A table at the source has a new schema that the sink cannot follow by itself.',
    mend: '`causeway schema diff` shows it. Change the target table, then run `causeway schema approve`.',
  },
  parked_keys_max: {
    retry: 'manual',
    meaning: 'More keys are parked than deadLetter.parkedKeysMax.',
    mend: '`causeway dlq list` shows why; mend the cause, then `causeway dlq replay`.',
  },
  value_refused: {
    retry: 'manual',
    meaning: 'The sink refuses the value of one row for ever. Its key is parked; no other key waits.',
    mend: '`causeway dlq show` tells why. Once the sink takes the value, `causeway dlq replay`; `causeway dlq repair` brings the row as the source has it now.',
  },
  partial_without_base: {
    retry: 'manual',
    meaning:
      'An update left out an unchanged large column and the sink has no row to put it on. The key is parked until its row was read from the source ' +
      'again, which is asked for by itself.',
    mend: 'None is needed; `causeway dlq repair` asks at once. `REPLICA IDENTITY FULL` on the table spares the read.',
  },
  record_too_large: {
    retry: 'manual',
    meaning: 'A row is larger than a record of the log may be. It was published without its values and its key is parked at every sink.',
    mend:
      'Raise `log.recordBytesMax` and start again, or leave the column out by a column list of the publication; then `causeway dlq repair`. The next ' +
      'change of the row releases the key too; a replay has no values to write.',
  },
  value_unreadable: {
    retry: 'manual',
    meaning: 'A row of the source cannot be read as text. It was published without its values and its key is parked at every sink.',
    mend: 'Correct the row at the source: that change releases the key. `causeway dlq repair` reads it again.',
  },
  internal: {
    retry: 'fatal',
    meaning:
      'A broken invariant of the program, or an error without a code in capture, whose recovery inside the process cannot be proved.',
    mend: 'Report it with the log.',
  },
} as const satisfies Readonly<Record<string, ErrorEntry>>;

export type ErrorCode = keyof typeof errorTable;

/** An operating error with a code. The message holds no row value, key or credential. */
export class CausewayError extends Error {
  override readonly name = 'CausewayError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export function policyFor(code: ErrorCode): { readonly retry: Retry; readonly meaning: string; readonly mend: string } {
  return errorTable[code];
}

/** The code of anything that was thrown. What has no code is a defect of ours. */
export function codeOf(error: unknown): ErrorCode {
  return error instanceof CausewayError ? error.code : 'internal';
}

/** Delay before attempt `attempt` (from 0): doubles from `firstMs` to `maxMs`, with full jitter over its upper half. */
export function backoffMs(input: {
  readonly attempt: number;
  readonly firstMs: number;
  readonly maxMs: number;
  readonly random: number;
}): number {
  const ceiling = Math.min(input.maxMs, input.firstMs * 2 ** Math.min(input.attempt, 30));
  return ceiling / 2 + (ceiling / 2) * input.random;
}
