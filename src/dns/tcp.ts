import { createServer, type Server, type Socket } from "node:net";
import { listenFailure } from "./listen.ts";
import type { DnsMetrics } from "./metrics.ts";
import { later, type Responder } from "./responder.ts";

export interface TcpOptions {
  /** Connections at the same time; more are closed at once. 1000 where not given. */
  connections?: number;
  /** A connection without traffic is closed after so long (RFC 7766 section 6.2.3), in milliseconds; 10,000. */
  idleMs?: number;
  /** Queries of one connection that may wait for upstreams at the same time; 100 where not given. */
  pipeline?: number;
}

/** Responses not yet taken by the client, in bytes, from which on no more of its queries are read. */
const maxUnsent = 1 << 18;

/** Serves DNS over TCP (RFC 7766): queries may be pipelined, responses come as they are ready. */
export class TcpListener {
  readonly #responder: Responder;
  readonly #metrics: DnsMetrics;
  readonly #options: Required<TcpOptions>;
  readonly #connections = new Set<Connection>();
  #server: Server | undefined;

  constructor(responder: Responder, metrics: DnsMetrics, options: TcpOptions = {}) {
    this.#responder = responder;
    this.#metrics = metrics;
    this.#options = {
      connections: options.connections ?? 1000,
      idleMs: options.idleMs ?? 10_000,
      pipeline: options.pipeline ?? 100,
    };
  }

  get port(): number {
    const address = this.#server?.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  /** @throws ListenFailure */
  async open(address: string, port: number): Promise<void> {
    // A client may close its side once it has asked; it still gets its answers.
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
    try {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen({ host: address, port, ipv6Only: address.includes(":") }, resolve);
      });
    } catch (error) {
      throw listenFailure("tcp", address, port, error);
    }
    // Such as too many open files: the connections that are there go on.
    server.on("error", () => {});
    this.#server = server;
  }

  close(): void {
    this.#server?.close();
    this.#server = undefined;
    for (const connection of this.#connections) connection.close();
  }

  #accept(socket: Socket): void {
    if (this.#connections.size >= this.#options.connections) {
      socket.destroy();
      return;
    }
    this.#metrics.tcpConnections++;
    const connection = new Connection(socket, this.#responder, this.#metrics, this.#options);
    this.#connections.add(connection);
    socket.once("close", () => this.#connections.delete(connection));
  }
}

class Connection {
  readonly #socket: Socket;
  readonly #responder: Responder;
  readonly #metrics: DnsMetrics;
  readonly #options: Required<TcpOptions>;
  #received: Buffer = Buffer.alloc(0);
  #waiting = 0;
  #ended = false;
  /** When the first byte of a message came that is still incomplete, in milliseconds. */
  #partialSince = 0;

  constructor(socket: Socket, responder: Responder, metrics: DnsMetrics, options: Required<TcpOptions>) {
    this.#socket = socket;
    this.#responder = responder;
    this.#metrics = metrics;
    this.#options = options;
    socket.setTimeout(options.idleMs, () => {
      if (this.#waiting === 0) this.close();
    });
    socket.on("data", (chunk: Buffer) => {
      this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
      this.#advance();
    });
    socket.on("drain", () => this.#advance());
    socket.on("end", () => {
      this.#ended = true;
      this.#advance();
    });
    socket.on("error", () => this.close());
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Answers the messages that have come whole, as long as the client takes the responses. */
  #advance(): void {
    let at = 0;
    const bytes = this.#received;
    while (!this.#busy() && at + 2 <= bytes.length) {
      const end = at + 2 + bytes.readUInt16BE(at);
      if (end > bytes.length) break;
      this.#answer(bytes.subarray(at + 2, end));
      at = end;
    }
    if (at > 0) this.#received = bytes.subarray(at);
    this.#watchPartial(at > 0);
    if (this.#busy()) this.#socket.pause();
    else this.#socket.resume();
    if (this.#ended && this.#waiting === 0 && !this.#busy()) this.#socket.end();
  }

  /** A message may take no longer to come than a connection may idle, however slowly its bytes drip. */
  #watchPartial(progress: boolean): void {
    const now = Date.now();
    if (this.#received.length === 0 || this.#busy()) this.#partialSince = 0;
    else if (progress || this.#partialSince === 0) this.#partialSince = now;
    else if (now - this.#partialSince > this.#options.idleMs) this.close();
  }

  #busy(): boolean {
    return this.#waiting >= this.#options.pipeline || this.#socket.writableLength > maxUnsent;
  }

  #answer(query: Buffer): void {
    this.#metrics.tcpQueries++;
    const responder = this.#responder;
    let response: Buffer | undefined | typeof later;
    try {
      response = responder.answer(query, true);
    } catch (error) {
      response = responder.failure(query, error);
    }
    if (response === undefined) {
      // Something else than DNS is spoken here.
      this.close();
      return;
    }
    if (response !== later) {
      this.#write(response);
      return;
    }
    this.#waiting++;
    responder
      .resolve(Buffer.from(query), true, this.#socket.remotePort ?? 0)
      .catch((error) => responder.failure(query, error))
      .then((resolved) => {
        this.#waiting--;
        if (resolved !== undefined) this.#write(resolved);
        if (!this.#socket.destroyed) this.#advance();
      });
  }

  #write(response: Buffer): void {
    if (this.#socket.destroyed) return;
    const frame = Buffer.allocUnsafe(2 + response.length);
    frame.writeUInt16BE(response.length, 0);
    response.copy(frame, 2);
    this.#responder.pool.give(response);
    this.#socket.write(frame);
  }
}
