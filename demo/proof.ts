// The command line as an operator uses it to prove a copy.
import { spawn } from 'node:child_process';
import type pg from 'pg';
import { print } from './screen.ts';

type Env = Readonly<Record<string, string>>;

/** The exit code: 0 clean, 3 differences. */
export async function reconciles(configFile: string, env: Env): Promise<number> {
  const { code, out } = await causeway(env, 'reconcile', 'run', '-c', configFile);
  for (const line of out.trimEnd().split('\n')) print(`            ${line}`);
  return code;
}

/** True where every key that differed is right afterwards. */
export async function repairs(configFile: string, env: Env): Promise<boolean> {
  const planned = await causeway(env, 'reconcile', 'repair', '--plan', '-o', 'json', '-c', configFile);
  const { plan } = JSON.parse(planned.out) as { readonly plan: string };
  const { code, out } = await causeway(env, 'reconcile', 'repair', '--apply', plan, '-c', configFile);
  print(`            ${out.trimEnd()}`);
  return code === 0;
}

/** What no trigger, key or log tells of. */
export async function corrupt(sink: pg.Client): Promise<void> {
  await sink.query(`DELETE FROM shop.customers WHERE id = (SELECT min(id) FROM shop.customers);
    UPDATE shop.orders SET total = total + 1 WHERE (customer_id, number) = (SELECT max(customer_id), 1 FROM shop.orders WHERE number = 1);
    INSERT INTO shop.order_lines (customer_id, number, line, sku, quantity, price) VALUES (0, 0, 0, 'nobody', 1, 1)`);
}

async function causeway(env: Env, ...words: readonly string[]): Promise<{ readonly code: number; readonly out: string }> {
  const child = spawn(process.execPath, ['src/main.ts', ...words], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => void (out += text));
  const code = await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (exit) => resolve(exit ?? 1));
  });
  return { code, out };
}
