import type { Metrics } from '../metrics/registry.ts';
import { html, json, text, type Routes } from './server.ts';
import type { StatusDocument } from './status-document.ts';
import { statusPage } from './status-page.ts';

/** What the endpoints read. */
export type Views = {
  /** False once the process should be started again. */
  readonly live: () => boolean;
  /** True as soon as every pipeline is started, also as a standby; false while stopping. */
  readonly ready: () => boolean;
  readonly status: () => StatusDocument;
};

/** For people and probes. */
export function statusRoutes(views: Views): Routes {
  return new Map([
    ['/livez', () => (views.live() ? text(200, 'ok\n') : text(503, 'not live\n'))],
    // The body says which pipelines another process captures: this one is ready to take them over.
    ['/readyz', () => (views.ready() ? text(200, `ok\n${statesText(views.status())}`) : text(503, 'not ready\n'))],
    ['/status', () => html(200, statusPage(views.status()))],
    ['/api/v1/status', () => json(200, views.status())],
  ]);
}

/** For Prometheus. */
export function metricsRoutes(metrics: Metrics): Routes {
  return new Map([['/metrics', async () => ({ status: 200, contentType: metrics.contentType, body: await metrics.text() })]]);
}

function statesText({ pipelines }: StatusDocument): string {
  return pipelines.map(({ name, state }) => `${name}: ${state}\n`).join('');
}
