import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Client, ClientConfig } from 'pg';
import { LogicalReplicationService } from 'pg-logical-replication';
import { CausewayError } from '#core/errors.ts';
import type { Runtime } from '#core/runtime.ts';
import { formatLsn, LSN_ZERO, type Lsn } from './lsn.ts';
import { asksForReply, isKeepalive, messageLsn, XLOG_DATA_HEAD_BYTES } from './replication-message.ts';
import { prepareReplication, replicationError, startStatement } from './replication-session.ts';

/**
 * One connection to a walsender. pg-logical-replication speaks the wire; what it decides by itself is switched off, because it
 * acknowledges what was only received (its timer), acknowledges over a failed handler (its flow control), answers no keepalive,
 * and starts again from what it last received when it is used twice. So: no timer, no flow control, a service for each
 * connection, the slot's own position as start, and the status messages are sent from here.
 */
export type ReplicationOptions = {
  /** Of a connection that asks for `valueSettings` at its start. */
  readonly clientConfig: ClientConfig;
  readonly slot: string;
  readonly publication: string;
  /** The database's own, as the server calls it. Frames carry texts in it. */
  readonly encoding: string;
  readonly runtime: Runtime;
};

/** Called from within the socket's own callback: nothing here may throw or wait. */
export type ReplicationListener = {
  /** One message of the output plugin. The frame's bytes are overwritten after the call. */
  data(lsn: Lsn, frame: Buffer): void;
  /** The server has read its log up to here. */
  keepalive(lsn: Lsn): void;
  /** Once; nothing comes after it. */
  ended(error: CausewayError): void;
};

const STATUS_INTERVAL_MS_MAX = 10_000;
const STATUS_INTERVAL_MS_MIN = 50;

/** Status messages in each wal_sender_timeout, so that a late one or two do no harm. */
const STATUS_PER_TIMEOUT = 4;

/**
 * Each status asks for an answer. Without one for so long, while we do read, the connection is taken for dead: a network that
 * swallows packets ends nothing by itself. A walsender that is at a large transaction of other tables answers at least
 * every half of wal_sender_timeout; with that switched off there is no such promise.
 */
const SILENCE_MS_MIN = 60_000;
const SILENCE_MS_WITHOUT_TIMEOUT = 600_000;

/**
 * How long the socket is left alone after a chunk, so that the walsender gathers more for the next one. Measured with small
 * rows on one machine: half of the processor time, the same throughput.
 */
const REST_MS = 1;

/** How long the server may take to read the last status and to hang up. */
const FINISH_MS_MAX = 1_000;

/** Terminate, "PostgreSQL documentation, Message Formats": a type and the length of nothing more. */
const TERMINATE = Buffer.from([0x58, 0, 0, 0, 4]);

export class ReplicationConnection implements AsyncDisposable {
  readonly #options: ReplicationOptions;
  readonly #listener: ReplicationListener;
  readonly #service: LogicalReplicationService;
  readonly #started = Promise.withResolvers<undefined>();
  readonly #closing = new AbortController();
  #hasStarted = false;
  #hasEnded = false;
  #rawSocket: Duplex | null = null;
  #client: Client | null = null;
  #flushed: Lsn = LSN_ZERO;
  #hasFlushed = false;
  #statusIntervalMs = STATUS_INTERVAL_MS_MAX;
  #silenceMsMax = SILENCE_MS_WITHOUT_TIMEOUT;
  #heardAtMs = 0;
  #paused = false;
  #resting = false;

  private constructor(options: ReplicationOptions, listener: ReplicationListener) {
    this.#options = options;
    this.#listener = listener;
    this.#service = new LogicalReplicationService(
      { ...options.clientConfig, stream: () => this.#openSocket() },
      { acknowledge: { auto: false, timeoutSeconds: 0 }, flowControl: { enabled: false } },
    );
  }

  /** Resolves when the server streams. Errors: `source_slot_in_use`, `source_slot_lost`, `source_misconfigured`, and what `postgresError` says. */
  static async open(options: ReplicationOptions, listener: ReplicationListener, signal: AbortSignal): Promise<ReplicationConnection> {
    signal.throwIfAborted();
    const connection = new ReplicationConnection(options, listener);
    const abort = (): void => {
      connection.#rawSocket?.destroy();
    };
    signal.addEventListener('abort', abort);
    try {
      await connection.#start();
      signal.throwIfAborted();
      return connection;
    } catch (error) {
      await connection.close();
      signal.throwIfAborted();
      throw error;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  /** What the slot stands at: its own position until `flush` moves it. */
  get flushed(): Lsn {
    return this.#flushed;
  }

  /** Tells the server that everything below `lsn` may be forgotten. Never falls; sent at once and repeated. */
  flush(lsn: Lsn): void {
    if (lsn <= this.#flushed) return;
    this.#flushed = lsn;
    this.#hasFlushed = true;
    this.#sendStatus(false);
  }

  /** Stops reading. Status messages go on, so the server does not take the connection for dead. */
  pause(): void {
    this.#paused = true;
    this.#socket()?.pause();
  }

  resume(): void {
    this.#paused = false;
    if (!this.#resting) this.#socket()?.resume();
  }

  /**
   * Ends the connection once the server has taken what `flush` sent. A socket that is destroyed with unread bytes resets the
   * connection, and the server then may never read the status; so it is told to end, and read from until it does.
   */
  async finish(): Promise<void> {
    const socket = this.#socket();
    if (this.#hasFlushed && !this.#hasEnded && socket !== null) {
      this.#hasEnded = true;
      this.#closing.abort();
      const closed = new AbortController();
      socket.once('close', () => closed.abort());
      socket.end(TERMINATE);
      socket.resume();
      await this.#options.runtime.sleep(FINISH_MS_MAX, closed.signal).catch(ignore);
    }
    await this.close();
  }

  /** At once. */
  async close(): Promise<void> {
    this.#hasEnded = true;
    this.#closing.abort();
    this.#rawSocket?.destroy();
    await this.#service.destroy().catch(ignore);
    // The library has taken every listener off, pg's own among them: an error that arrives now would end the process.
    this.#service.on('error', ignore);
    this.#client?.on('error', ignore);
    if (this.#client !== null) wireOf(this.#client).on('error', ignore);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #start(): Promise<void> {
    const service = this.#service;
    service.on('start', () => {
      this.#hasStarted = true;
      this.#started.resolve(undefined);
    });
    service.on('error', (error) => this.#end(error));
    // Only name, parse and start of a plugin are ever used; the class that the library asks for is not exported.
    const plugin = {
      name: 'pgoutput',
      parse: (frame: Buffer): Buffer => frame,
      start: (client: Client): Promise<unknown> => this.#startReplication(client),
    } as unknown as Parameters<LogicalReplicationService['subscribe']>[0];
    service.subscribe(plugin, this.#options.slot, '0/0').then(
      () => this.#end(null),
      (error: unknown) => this.#end(error),
    );
    await this.#started.promise;
    this.#repeatStatus().catch(ignore);
  }

  #openSocket(): Duplex {
    this.#rawSocket = this.#options.clientConfig.stream?.() ?? new Socket();
    return this.#rawSocket;
  }

  /** The socket that carries the messages: the TLS one where there is TLS. */
  #socket(): Duplex | null {
    return this.#client === null ? null : wireOf(this.#client).stream;
  }

  async #startReplication(client: Client): Promise<unknown> {
    this.#client = client;
    this.#takeMessages(wireOf(client));
    const { flushed, senderTimeoutMs } = await prepareReplication(client, this.#options);
    this.#flushed = flushed;
    if (senderTimeoutMs > 0) {
      this.#silenceMsMax = Math.max(SILENCE_MS_MIN, 2 * senderTimeoutMs);
      this.#statusIntervalMs = Math.max(STATUS_INTERVAL_MS_MIN, Math.min(STATUS_INTERVAL_MS_MAX, senderTimeoutMs / STATUS_PER_TIMEOUT));
    }
    return client.query(startStatement(this.#options));
  }

  /**
   * Takes the place of the library's listener, which makes a text of each LSN and passes each message on through a promise and an
   * emitter of its own. A message that cannot be read ends the connection, because nothing may be thrown here.
   */
  #takeMessages(wire: Wire): void {
    wire.removeAllListeners('copyData');
    wire.on('copyData', ({ chunk }) => {
      if (this.#hasEnded) return;
      const lsn = messageLsn(chunk);
      if (lsn === null) this.#end(new CausewayError('source_stream_invalid', 'the source sent a replication message that is not known'));
      else if (isKeepalive(chunk)) this.#onKeepalive(lsn, asksForReply(chunk));
      else this.#onData(lsn, chunk.subarray(XLOG_DATA_HEAD_BYTES));
    });
  }

  #onData(lsn: Lsn, frame: Buffer): void {
    this.#listener.data(lsn, frame);
    this.#rest();
  }

  #onKeepalive(lsn: Lsn, shouldRespond: boolean): void {
    this.#heard();
    if (shouldRespond) this.#sendStatus(false);
    this.#listener.keepalive(lsn);
  }

  #rest(): void {
    if (this.#resting) return;
    this.#resting = true;
    this.#heard();
    this.#socket()?.pause();
    const wake = (): void => {
      this.#resting = false;
      if (!this.#paused) this.#socket()?.resume();
    };
    this.#options.runtime.sleep(REST_MS, this.#closing.signal).then(wake, ignore);
  }

  #heard(): void {
    this.#heardAtMs = this.#options.runtime.monotonicMs();
  }

  async #repeatStatus(): Promise<void> {
    const { signal } = this.#closing;
    this.#heard();
    while (!signal.aborted) {
      if (this.#paused) this.#heard();
      if (this.#options.runtime.monotonicMs() - this.#heardAtMs > this.#silenceMsMax) {
        this.#end(new CausewayError('source_unavailable', `the source has not answered for ${this.#silenceMsMax} ms`));
        return;
      }
      this.#sendStatus(true);
      await this.#options.runtime.sleep(this.#statusIntervalMs, signal);
    }
  }

  /**
   * The library adds one to what it is given, but an end position is already the first byte that is not needed any more. One
   * more would skip a transaction whose commit record begins just there, for ever (C2).
   */
  #sendStatus(asksForAnswer: boolean): void {
    if (this.#hasEnded || !this.#hasStarted) return;
    this.#service.acknowledge(formatLsn(this.#flushed - 1n), asksForAnswer).catch((error: unknown) => this.#end(error));
  }

  #end(error: unknown): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    const mapped = this.#mapped(error);
    this.#closing.abort();
    this.#rawSocket?.destroy();
    if (this.#hasStarted) this.#listener.ended(mapped);
    else this.#started.reject(mapped);
  }

  #mapped(error: unknown): CausewayError {
    if (error instanceof CausewayError) return error;
    if (error === null) return new CausewayError('source_unavailable', 'the source ended the replication connection');
    return replicationError(error, { ...this.#options, hasStarted: this.#hasStarted });
  }
}

function ignore(): void {
  // Whatever comes after the end of a connection has no reader.
}

/** pg keeps the connection below its client untyped. */
type Wire = {
  readonly stream: Duplex;
  on(event: 'error', listener: () => void): unknown;
  on(event: 'copyData', listener: (message: { readonly chunk: Buffer }) => void): unknown;
  removeAllListeners(event: 'copyData'): unknown;
};

function wireOf(client: Client): Wire {
  return (client as unknown as { readonly connection: Wire }).connection;
}
