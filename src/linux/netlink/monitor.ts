import { MalformedMessage } from "./codec.ts";
import { type Message, NetlinkSocket, parseMessages, type SocketOptions } from "./socket.ts";

/** Room for what arrives while the program is busy, in bytes. Past it, messages are lost and an overrun is told. */
const defaultBuffer = 4 * 1024 * 1024;

interface Reader {
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}

/**
 * Listens to multicast groups without blocking the event loop. Iterate it once, which also closes it; `undefined` among the messages means
 * that some were lost (ENOBUFS) and that the caller must list anew. Messages are collected from its construction on.
 */
export class NetlinkMonitor implements AsyncIterable<readonly Message[] | undefined> {
  readonly #socket: NetlinkSocket;
  #reader: Reader | undefined;
  #closed = false;

  /** `groups` is a bit mask; see {@link SocketOptions}. */
  constructor(protocol: number, options: SocketOptions & { groups: number }) {
    this.#socket = new NetlinkSocket(protocol, { buffer: defaultBuffer, ...options });
  }

  async *[Symbol.asyncIterator](): AsyncIterator<readonly Message[] | undefined> {
    try {
      yield* this.#read();
    } finally {
      await this.close();
    }
  }

  async *#read(): AsyncGenerator<readonly Message[] | undefined> {
    while (!this.#closed) {
      // Bun waits for descriptors of sockets in its event loop. `fs.read` would do too, but it occupies one of the few
      // threads of the pool (as many as CPUs) for as long as nothing arrives, and other file work starves.
      const reader: Reader = this.#reader ?? Bun.file(this.#socket.fd).stream().getReader();
      this.#reader = reader;
      try {
        const { done, value } = await reader.read();
        if (done || value === undefined) return;
        yield parseMessages(value);
      } catch (error) {
        if (this.#closed) return;
        // A cut-off message is a lost message.
        if (!(error instanceof MalformedMessage) && (error as NodeJS.ErrnoException).code !== "ENOBUFS")
          throw error;
        // Once it has lost one, the kernel drops messages in silence until the socket has been emptied. Only then may
        // the caller list anew, or what happens between would be missed.
        this.#socket.drain();
        // The stream ends with its first error, the socket does not.
        if (!(error instanceof MalformedMessage)) this.#reader = undefined;
        yield undefined;
      }
    }
  }

  /** Ends the iteration and frees the socket. May be repeated. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      await this.#reader?.cancel();
    } catch {
      // The stream had ended with an error, which the iteration told.
    }
    this.#socket.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
