import type { Finding } from '#core/finding.ts';

type Outcome = { readonly level: Finding['level']; readonly details?: readonly string[]; readonly mend?: readonly string[] };

export function finding(id: string, title: string, { level, details = [], mend = [] }: Outcome): Finding {
  return { id, level, title, details, mend };
}

export function ok(id: string, title: string, details: readonly string[] = []): Finding {
  return { id, level: 'ok', title, details, mend: [] };
}
