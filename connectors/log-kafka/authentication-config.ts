import { z } from 'zod';

const path = z.string().min(1);

export const tlsSchema = z.strictObject({
  ca: path.optional().describe('File with the certificates of the authorities to trust, in PEM. Those that Node.js knows unless set.'),
  cert: path.optional().describe('File with a client certificate, in PEM.'),
  key: path.optional().describe('File with the key of the client certificate, in PEM.'),
});

const MECHANISMS = ['plain', 'scram-sha-256', 'scram-sha-512', 'oauthbearer', 'aws-msk-iam'] as const;

export const saslSchema = z.strictObject({
  mechanism: z
    .enum(MECHANISMS)
    .describe('`aws-msk-iam` takes its credentials from the chain of the AWS SDK: environment, web identity, instance.'),
  username: z.string().min(1).optional().describe('For `plain` and `scram-…`.'),
  passwordFile: path.optional().describe('For `plain` and `scram-…`: file that holds the password. It is read at each connection.'),
  tokenFile: path
    .optional()
    .describe('For `oauthbearer`: file that holds the token, kept fresh by somebody else. It is read at each connection.'),
  tokenUrl: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe('For `oauthbearer`, instead of `tokenFile`: where a token is had for client credentials (RFC 6749, section 4.4).'),
  clientId: z.string().min(1).optional().describe('With `tokenUrl`.'),
  clientSecretFile: path.optional().describe('With `tokenUrl`: file that holds the secret of the client.'),
  scope: z.string().min(1).optional().describe('With `tokenUrl`, where its server asks for one.'),
  extensions: z
    .record(z.string().regex(/^(?!auth$)[A-Za-z]+$/), z.string().regex(/^[\x20-\x7e]+$/))
    .optional()
    .describe(
      'For `oauthbearer`: names and values that the brokers ask for beside the token, such as `logicalCluster` and `identityPoolId`.',
    ),
  region: z.string().min(1).optional().describe('For `aws-msk-iam`: region of the cluster, such as `eu-west-1`.'),
});

export type TlsConfig = z.output<typeof tlsSchema>;
export type SaslConfig = z.output<typeof saslSchema>;
export type SaslMechanism = SaslConfig['mechanism'];

type SaslKey = Exclude<keyof SaslConfig, 'mechanism'>;

const ALTERNATIVES: Readonly<
  Record<SaslMechanism, readonly { readonly needed: readonly SaslKey[]; readonly allowed: readonly SaslKey[] }[]>
> = {
  plain: [{ needed: ['username', 'passwordFile'], allowed: [] }],
  'scram-sha-256': [{ needed: ['username', 'passwordFile'], allowed: [] }],
  'scram-sha-512': [{ needed: ['username', 'passwordFile'], allowed: [] }],
  oauthbearer: [
    { needed: ['tokenFile'], allowed: ['extensions'] },
    { needed: ['tokenUrl', 'clientId', 'clientSecretFile'], allowed: ['scope', 'extensions'] },
  ],
  'aws-msk-iam': [{ needed: ['region'], allowed: [] }],
};

type Authenticated = {
  readonly brokers: readonly string[];
  readonly tls?: TlsConfig | undefined;
  readonly sasl?: SaslConfig | undefined;
};

/** Adds what the keys for TLS and SASL have to satisfy together. */
export function checkAuthentication({ brokers, tls, sasl }: Authenticated, context: z.core.$RefinementCtx): void {
  const issue = (at: readonly string[], message: string, mend: string): void =>
    context.addIssue({ code: 'custom', path: [...at], message, params: { mend } });
  if (tls !== undefined && (tls.cert === undefined) !== (tls.key === undefined)) {
    issue(['tls'], 'has only one of cert and key', 'Name both files, or neither.');
  }
  if (sasl === undefined) return;
  const { mechanism, ...given } = sasl;
  const keys = Object.keys(given).filter((key) => given[key as SaslKey] !== undefined);
  const fits = ALTERNATIVES[mechanism].some(
    ({ needed, allowed }) =>
      needed.every((key) => keys.includes(key)) && keys.every((key) => [...needed, ...allowed].includes(key as SaslKey)),
  );
  if (!fits) {
    const choices = ALTERNATIVES[mechanism].map(({ needed }) => needed.join(', ')).join(', or ');
    issue(['sasl'], `does not fit the mechanism ${mechanism}`, `Besides mechanism it takes ${choices}, and nothing else.`);
  }
  if (tls === undefined && !mechanism.startsWith('scram') && !brokers.every(isLoopback)) {
    issue(
      ['sasl', 'mechanism'],
      'would send a secret over a connection that is not encrypted',
      'Set `tls` (`{}` is enough), or take scram-sha-512.',
    );
  }
}

function isLoopback(broker: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[::1\]):/.test(broker);
}
