import * as z from 'zod';

/** It becomes a part of a host's name. */
const REGION = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;
/**
 * The region in a host's name of AWS: `dynamodb.eu-west-1.amazonaws.com`, and that of a VPC endpoint, `….eu-west-1.vpce.amazonaws.com` ("Amazon
 * DynamoDB endpoints and quotas", "Access AWS services through AWS PrivateLink").
 */
const REGION_IN_HOST = /\.([a-z]{2,}(?:-[a-z]+)+-\d+)\.(?:vpce\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)$/;
/** What stands for the region in an ARN of DynamoDB Local. */
const LOCAL_REGION = 'ddblocal';

export const regionField = z.string().regex(REGION, { message: 'is no name of a region, such as eu-west-1' });

export const endpointField = z
  .url({ protocol: /^https?$/ })
  .optional()
  .describe("Instead of the region's own endpoint: that of a VPC endpoint, or of DynamoDB Local.");

/** Requests are signed for the region, and the endpoint of another one refuses every one of them. */
export function checkRegion(
  { region, endpoint }: { readonly region: string; readonly endpoint?: string | undefined },
  context: z.core.$RefinementCtx,
): void {
  const found = endpoint === undefined ? null : regionOfEndpoint(endpoint);
  if (found === null || found === region) return;
  const mend = `Set \`region\` to ${found}, or take the endpoint of ${region}.`;
  context.addIssue({ code: 'custom', path: ['endpoint'], message: `is of the region ${found}, and not of ${region}`, params: { mend } });
}

/** Null where the name does not tell, or the text is no URL, which is a mistake of its own. */
export function regionOfEndpoint(endpoint: string): string | null {
  return REGION_IN_HOST.exec(URL.parse(endpoint)?.hostname ?? '')?.[1] ?? null;
}

/** The region of a table where it is not the configured one; null also for a local store, which has none, and for an ARN that is not of AWS. */
export function otherRegionOf(arn: string | undefined, configured: string): string | null {
  const [, partition = '', , found = ''] = (arn ?? '').split(':');
  return !partition.startsWith('aws') || ['', LOCAL_REGION, configured].includes(found) ? null : found;
}
