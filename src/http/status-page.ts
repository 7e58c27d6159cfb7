import type { LoadStatus, PipelineStatus, SinkStatus, StatusDocument, Trouble } from './status-document.ts';

const STYLE =
  'body{font:14px/1.5 system-ui,sans-serif;margin:2rem;max-width:70rem}table{border-collapse:collapse}' +
  'td,th{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top}.bad{color:#a00}h2{margin-top:2rem}';

/** One page without scripts, so that it works everywhere. It shows and changes nothing: each mend is a command to run. */
export function statusPage(status: StatusDocument): string {
  const bad = status.pipelines.some((pipeline) => pipeline.trouble !== null || pipeline.sinks.some((sink) => sink.trouble !== null));
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="10"><title>Causeway</title>
<style>${STYLE}</style></head><body>
<h1>Causeway: <span class="${bad ? 'bad' : 'good'}">${bad ? 'degraded' : 'ok'}</span></h1>
<p>version ${escape(status.version)}, process ${escape(status.process)}</p>
${status.pipelines.map(pipelineSection).join('\n')}
</body></html>
`;
}

function pipelineSection(pipeline: PipelineStatus): string {
  const { slot, log, lease } = pipeline;
  const rows: [string, string][] = [
    ['state', pipeline.state],
    ['lease', lease === null ? 'not known' : leaseText(lease)],
    ['position', pipeline.position ?? '-'],
    ['slot', slot === null ? '-' : `${slot.name}: ${slot.retainedBytes} bytes kept at the source, ${slot.backlogBytes} not yet confirmed`],
    ['log', log === null || log.bytes === null ? '-' : `${log.bytes} bytes${log.bytesMax === null ? '' : ` of ${log.bytesMax}`}`],
  ];
  const tables = pipeline.tables.filter(({ state }) => state !== 'streaming');
  return `<h2>${escape(pipeline.name)}</h2>${troubleLine(pipeline.trouble)}
<table>${rows.map(([name, value]) => `<tr><th>${name}</th><td>${escape(value)}</td></tr>`).join('')}</table>
<table><tr><th>sink</th><th>state</th><th>lag</th><th>records behind</th><th>partitions here</th><th>parked keys</th><th></th></tr>${pipeline.sinks.map(sinkRow).join('')}</table>
${pipeline.loads.map((load) => `<p>${escape(loadText(load))}</p>`).join('')}
${pipeline.loadsHeld === null ? '' : `<p class="bad">${escape(`loads are held: ${pipeline.loadsHeld.reason}. ${pipeline.loadsHeld.mend}`)}</p>`}
${pipeline.refused.map(({ table, reason, mend }) => `<p>${escape(`${table} is not captured: ${reason}: ${mend}`)}</p>`).join('')}
${tables.map(({ table, state, reason }) => `<p class="bad">${escape(`${table}: ${state} ${reason ?? ''}`)}</p>`).join('')}`;
}

function leaseText({ generation, holder, expiresInSeconds }: NonNullable<PipelineStatus['lease']>): string {
  const ends = expiresInSeconds === null ? '' : `, for ${expiresInSeconds.toFixed(1)} s unless it is renewed`;
  return `generation ${generation ?? '-'}, held by ${holder ?? 'nobody'}${ends}`;
}

function loadText({ table, sink, state, paused, rows, bytes, percent }: LoadStatus): string {
  const far = percent === null ? '' : `, ${percent.toFixed(0)} %`;
  return `${table}: loading${sink === null ? '' : ` for ${sink}`}, ${paused ? 'paused' : state}: ${rows} rows, ${bytes} bytes${far}`;
}

function sinkRow(sink: SinkStatus): string {
  const lag = sink.lagSeconds === null ? '-' : `${sink.lagSeconds.toFixed(1)} s`;
  return `<tr><td>${escape(sink.name)}</td><td>${sink.state}</td><td>${lag}</td><td>${sink.lagRecords ?? '-'}</td><td>${sink.partitions.length}</td><td>${sink.parkedKeys}</td><td>${troubleLine(sink.trouble)}</td></tr>`;
}

function troubleLine(trouble: Trouble | null): string {
  return trouble === null ? '' : `<p class="bad">${escape(`${trouble.code}: ${trouble.message}. ${trouble.mend}`)}</p>`;
}

function escape(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
