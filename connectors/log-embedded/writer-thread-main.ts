import { parentPort, workerData } from 'node:worker_threads';
import { present } from '#core/assert.ts';
import { SqliteHandle } from '../lib/sqlite/handle.ts';
import { type LogIdentity, logFileKind } from './layout.ts';
import { perform } from './operations.ts';
import { type Answer, answerOf, type Request } from './thread-messages.ts';

// The entry of the thread that writes to a log's file: answers each request in its turn, until it is told to end by null.
const port = present(parentPort, 'this module is the entry of a thread');
const identity = workerData as LogIdentity;
const handle = new SqliteHandle(identity.path, logFileKind(identity));

port.on('message', (request: Request | null) => {
  if (request === null) {
    handle.close();
    port.close();
    return;
  }
  port.postMessage(answered(request));
});

function answered({ name, args }: Request): Answer {
  try {
    return { tag: 'done', result: perform(handle, name, args as never) };
  } catch (error) {
    return answerOf(error);
  }
}
