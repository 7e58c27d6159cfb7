// One of the threads of `npm run sim`: runs the seeds that it is given, and answers with what came of them.
import { parentPort } from 'node:worker_threads';
import { runChunk } from './chunk.ts';

const port = parentPort;
if (port === null) throw new Error('this file is a worker thread');
port.on('message', ({ from, count }: { readonly from: number; readonly count: number }) => {
  runChunk(from, count, (seed) => port.postMessage({ tag: 'seed', seed })).then(
    (result) => port.postMessage({ tag: 'done', result }),
    (error: unknown) => {
      throw error;
    },
  );
});
