import { CausewayError, type ErrorCode } from '#core/errors.ts';
import { isCertificateCode } from '../lib/network/certificate-error.ts';

/**
 * Answers of a broker, by the name of their error code ("Apache Kafka protocol guide, Error Codes", as kafkajs spells them). What
 * stands nowhere waits for a person, since trying again does not mend it.
 */
const codesByType: ReadonlyMap<string, ErrorCode> = new Map<string, ErrorCode>([
  ...(
    [
      'LEADER_NOT_AVAILABLE',
      'NOT_LEADER_FOR_PARTITION',
      'REQUEST_TIMED_OUT',
      'BROKER_NOT_AVAILABLE',
      'REPLICA_NOT_AVAILABLE',
      'STALE_CONTROLLER_EPOCH',
      'NETWORK_EXCEPTION',
      'GROUP_LOAD_IN_PROGRESS',
      'GROUP_COORDINATOR_NOT_AVAILABLE',
      'NOT_COORDINATOR_FOR_GROUP',
      'NOT_ENOUGH_REPLICAS',
      'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
      'NOT_CONTROLLER',
      'KAFKA_STORAGE_ERROR',
      'FENCED_LEADER_EPOCH',
      'UNKNOWN_LEADER_EPOCH',
      'OFFSET_NOT_AVAILABLE',
      'PREFERRED_LEADER_NOT_AVAILABLE',
      'ELIGIBLE_LEADERS_NOT_AVAILABLE',
      'REASSIGNMENT_IN_PROGRESS',
      'UNSTABLE_OFFSET_COMMIT',
      'CONCURRENT_TRANSACTIONS',
      'ILLEGAL_GENERATION',
      'UNKNOWN_MEMBER_ID',
      'REBALANCE_IN_PROGRESS',
      'MEMBER_ID_REQUIRED',
    ] as const
  ).map((type) => [type, 'log_unavailable'] as const),
  ...(['SASL_AUTHENTICATION_FAILED', 'UNSUPPORTED_SASL_MECHANISM', 'ILLEGAL_SASL_STATE'] as const).map(
    (type) => [type, 'log_credentials'] as const,
  ),
  ...(
    [
      'TOPIC_AUTHORIZATION_FAILED',
      'GROUP_AUTHORIZATION_FAILED',
      'CLUSTER_AUTHORIZATION_FAILED',
      'TRANSACTIONAL_ID_AUTHORIZATION_FAILED',
    ] as const
  ).map((type) => [type, 'log_permission'] as const),
  // What a producer is told whose records may be missing, or may stand there already: nothing inside the process proves which.
  ...(['OUT_OF_ORDER_SEQUENCE_NUMBER', 'DUPLICATE_SEQUENCE_NUMBER', 'UNKNOWN_PRODUCER_ID', 'INVALID_PRODUCER_EPOCH'] as const).map(
    (type) => [type, 'log_unproved'] as const,
  ),
  ['UNKNOWN_TOPIC_OR_PARTITION', 'log_topic_missing'],
  // A consumer group that somebody is in is not removed.
  ['NON_EMPTY_GROUP', 'refused'],
  ['OFFSET_OUT_OF_RANGE', 'log_offset_gone'],
]);

/** What kafkajs says itself, by the name of the class. */
const codesByName: ReadonlyMap<string, ErrorCode> = new Map<string, ErrorCode>([
  ['KafkaJSError', 'log_unavailable'],
  ['KafkaJSConnectionError', 'log_unavailable'],
  ['KafkaJSConnectionClosedError', 'log_unavailable'],
  ['KafkaJSRequestTimeoutError', 'log_unavailable'],
  ['KafkaJSBrokerNotFound', 'log_unavailable'],
  ['KafkaJSNoBrokerAvailableError', 'log_unavailable'],
  ['KafkaJSMetadataNotLoaded', 'log_unavailable'],
  ['KafkaJSTopicMetadataNotLoaded', 'log_unavailable'],
  ['KafkaJSStaleTopicMetadataAssignment', 'log_unavailable'],
  ['KafkaJSGroupCoordinatorNotFound', 'log_unavailable'],
  ['KafkaJSTimeout', 'log_unavailable'],
  ['KafkaJSLockTimeout', 'log_unavailable'],
  ['KafkaJSSASLAuthenticationError', 'log_credentials'],
  ['KafkaJSNonRetriableError', 'log_misconfigured'],
  ['KafkaJSServerDoesNotSupportApiKey', 'log_misconfigured'],
  ['KafkaJSNotImplemented', 'log_misconfigured'],
  ['KafkaJSPartialMessageError', 'log_damaged'],
]);

/** A CausewayError for anything that kafkajs throws. One that is a CausewayError already stays. */
export function kafkaError(error: unknown): CausewayError {
  const cause = deepest(error);
  if (cause instanceof CausewayError) return cause;
  if (!(cause instanceof Error)) return new CausewayError('internal', 'a defect of Causeway while it talked to Kafka', { cause });
  const type = typeOf(cause);
  if (type !== null) return new CausewayError(codesByType.get(type) ?? 'log_misconfigured', `${type}: ${cause.message}`, { cause });
  if ('code' in cause && typeof cause.code === 'string') {
    return new CausewayError(isCertificateCode(cause.code) ? 'log_credentials' : 'log_unavailable', cause.message, { cause });
  }
  const code = codesByName.get(cause.name);
  if (code === undefined) return new CausewayError('internal', 'a defect of Causeway while it talked to Kafka', { cause });
  return new CausewayError(code, cause.message, { cause });
}

export function codeOfKafkaError(error: unknown): ErrorCode {
  return kafkaError(error).code;
}

/** The name of the error code that a broker answered with; null for anything else. */
export function brokerErrorType(error: unknown): string | null {
  const cause = deepest(error);
  return cause instanceof Error ? typeOf(cause) : null;
}

function typeOf(error: Error): string | null {
  return 'type' in error && typeof error.type === 'string' ? error.type : null;
}

/** kafkajs wraps what made it give up once for each layer that tried again; the innermost tells what happened. */
function deepest(error: unknown): unknown {
  let inner = error;
  while (inner instanceof Error && !(inner instanceof CausewayError)) {
    const next = several(inner)[0] ?? inner.cause;
    if (!(next instanceof Error)) return inner;
    inner = next;
  }
  return inner;
}

/** Of a request for several topics or groups. */
function several(error: Error): readonly unknown[] {
  if ('errors' in error && Array.isArray(error.errors)) return error.errors;
  if ('groups' in error && Array.isArray(error.groups))
    return (error.groups as readonly { readonly error?: unknown }[]).map((group) => group.error);
  return [];
}
