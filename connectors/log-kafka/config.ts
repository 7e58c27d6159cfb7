import { z } from 'zod';
import { parseBytes, parseDurationMs } from '#core/quantity.ts';
import { checkAuthentication, saslSchema, tlsSchema } from './authentication-config.ts';

const BROKER = /^([^:\s[\]]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}$/;
/** Of 249 that Kafka allows, with room for the longest name of a sink in `<topic>.<sink>.dead`. */
const TOPIC_LENGTH_MAX = 200;
/** Kafka's own rule for the name of a topic. */
const TOPIC = new RegExp(`^(?!\\.{1,2}$)[A-Za-z0-9._-]{1,${TOPIC_LENGTH_MAX}}$`);
const COMPRESSIONS = ['none', 'gzip', 'lz4', 'zstd'] as const;

const fields = z.strictObject({
  kind: z.literal('kafka'),
  brokers: z
    .array(matching(BROKER, 'is not an address', 'Write host:port, such as kafka-1:9092.'))
    .min(1)
    .max(64)
    .describe('Brokers to ask for the others, each as `host:port` or `[IPv6]:port`; three are enough.'),
  topic: matching(
    TOPIC,
    'is no name for a topic',
    `Use letters, digits, dots, underscores and hyphens, ${TOPIC_LENGTH_MAX} at most.`,
  ).describe('The topic of this pipeline; dead letters go to `<topic>.<sink>.dead`.'),
  group: z
    .string()
    .min(1)
    .max(TOPIC_LENGTH_MAX)
    .optional()
    .describe('How the consumer groups are named, each with `_` and the name of its sink behind it. `causeway_<pipeline>` unless set.'),
  partitions: z.int().min(1).max(512).default(12).describe('Fixed for the life of the topic.'),
  replicationFactor: z
    .int()
    .min(1)
    .max(16)
    .default(3)
    .describe('Copies of the topic when it is made. Fewer than 3 lose records, or stop, with one broker.'),
  minInsyncReplicas: z
    .int()
    .min(1)
    .max(16)
    .default(2)
    .describe('Copies that have to hold a record before it counts as durable (`min.insync.replicas`). 1 can lose what the source forgot.'),
  retention: duration('1m', '3650d')
    .default(7 * 86_400_000)
    .describe('How long the topic keeps records: at least twice the longest outage that a sink has to survive. `7d` unless set.'),
  recordBytesMax: sizeText('512KiB', '64MiB')
    .default(8 * 1024 ** 2)
    .describe(
      'A change that is larger is published without its values. The `max.message.bytes` of the topic has to be 64KiB more. `8MiB` unless set.',
    ),
  compression: z.enum(COMPRESSIONS).default('zstd').describe('How batches of 1 KiB and more are compressed.'),
  producers: z
    .int()
    .min(1)
    .max(64)
    .default(4)
    .describe('Producers side by side, each with partitions of its own and one batch on its way.'),
  requestTimeout: duration('1s', '2m')
    .default(10_000)
    .describe('How long a broker may take to answer. Less than `lease.ttl`. `10s` unless set.'),
  connectTimeout: duration('100ms', '2m').default(10_000).describe('How long a connection may take to come up. `10s` unless set.'),
  sessionTimeout: duration('6s', '30m')
    .default(6_000)
    .describe(
      'How long a process that vanished keeps its partitions of a consumer group; the brokers set bounds (`group.min.session.timeout.ms`). `6s` unless set.',
    ),
  tls: tlsSchema.optional().describe('Given, even empty (`{}`), connections are encrypted and the brokers verified.'),
  sasl: saslSchema.optional().describe('How the process logs in.'),
});

export const configSchema = fields.superRefine((config, context) => {
  checkAuthentication(config, context);
  if (config.minInsyncReplicas <= config.replicationFactor) return;
  context.addIssue({
    code: 'custom',
    path: ['minInsyncReplicas'],
    message: 'is greater than replicationFactor, so that nothing could ever be written',
    params: { mend: 'Set it to one less than replicationFactor.' },
  });
});

export type Config = z.output<typeof configSchema>;
export type Compression = Config['compression'];

/** What a batch takes besides the keys and values of its records, when they cannot be compressed, generously. */
export const RECORD_OVERHEAD_BYTES = 64 * 1024;

function matching(pattern: RegExp, message: string, mend: string): z.ZodString {
  return z.string().refine((text) => pattern.test(text), { message, params: { mend } });
}

function sizeText(min: string, max: string): z.ZodType<number, string> {
  return quantity({ min, max, parse: parseBytes, what: 'a size', example: '8MiB' });
}

function duration(min: string, max: string): z.ZodType<number, string> {
  return quantity({ min, max, parse: parseDurationMs, what: 'a duration', example: '10s' });
}

/** `8MiB` or `10s` in the file, bytes or milliseconds in the resolved configuration. */
function quantity(rule: {
  readonly min: string;
  readonly max: string;
  readonly parse: (text: string) => number | null;
  readonly what: string;
  readonly example: string;
}): z.ZodType<number, string> {
  const { min, max, parse, what, example } = rule;
  return z.string().transform((text, context) => {
    const value = parse(text);
    if (value !== null && value >= (parse(min) ?? 0) && value <= (parse(max) ?? Number.MAX_SAFE_INTEGER)) return value;
    context.addIssue({
      code: 'custom',
      message: value === null ? `is not ${what}` : `must be between ${min} and ${max}`,
      params: { mend: `Write a number with its unit, from ${min} to ${max}, such as ${example}.` },
    });
    return z.NEVER;
  });
}
