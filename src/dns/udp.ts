import { listenFailure } from "./listen.ts";
import type { DnsMetrics } from "./metrics.ts";
import { later, type Responder } from "./responder.ts";

/** Responses that wait for room in the kernel's buffer at most; more are dropped, as a full wire would. */
const maxBacklog = 4096;

/** Up to so many responses in one turn of the event loop go out one by one: gathering them would only delay them. */
const fewResponses = 2;

const sendTries = 3;

/** uSockets' LIBUS_SOCKET_IPV6_ONLY, as Bun's node:dgram passes it: else "::" would take 0.0.0.0 as well. */
const ipv6Only = { flags: 8 };

/**
 * A UDP socket that answers queries. Under load, datagrams come from the kernel in batches, and the responses of a batch
 * go back together (sendmmsg), which makes a fifth more of them a second than one by one.
 */
export class UdpListener {
  readonly #responder: Responder;
  readonly #metrics: DnsMetrics;
  #socket: Bun.udp.Socket<"buffer"> | undefined;
  /** Response, port, address; and so on. */
  #batch: (Buffer | number | string)[] = [];
  #scheduled = false;
  /** Responses in this turn of the event loop. */
  #queued = 0;
  /** Many responses came in the last turn, so that they are worth gathering. */
  #busy = false;
  readonly #flush = () => this.#endTurn();

  constructor(responder: Responder, metrics: DnsMetrics) {
    this.#responder = responder;
    this.#metrics = metrics;
  }

  get port(): number {
    return this.#socket?.port ?? 0;
  }

  /** @throws ListenFailure */
  async open(address: string, port: number): Promise<void> {
    try {
      this.#socket = await Bun.udpSocket({
        hostname: address,
        port,
        ...(address.includes(":") ? ipv6Only : {}),
        socket: {
          data: (_socket, data, fromPort, from) => this.#receive(data, fromPort, from),
          drain: () => this.#send(),
          error: () => {},
        },
      });
    } catch (error) {
      throw listenFailure("udp", address, port, error);
    }
  }

  close(): void {
    this.#batch = [];
    this.#socket?.close();
    this.#socket = undefined;
  }

  #receive(query: Buffer, port: number, address: string): void {
    this.#metrics.udpQueries++;
    const responder = this.#responder;
    let response: Buffer | undefined | typeof later;
    try {
      response = responder.answer(query, false);
    } catch (error) {
      response = responder.failure(query, error);
    }
    if (response === undefined) return;
    if (response === later) {
      responder.resolve(query, false, port).then(
        (resolved) => this.#queue(resolved, port, address),
        (error) => {
          const failure = responder.failure(query, error);
          if (failure !== undefined) this.#queue(failure, port, address);
        },
      );
      return;
    }
    this.#queue(response, port, address);
  }

  /** Sends a response at once while there is little to do, else with the others of its turn of the event loop. */
  #queue(response: Buffer, port: number, address: string): void {
    this.#queued++;
    if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(this.#flush);
    }
    if (!this.#busy && this.#sendOne(response, port, address)) this.#responder.pool.give(response);
    else if (this.#batch.length < 3 * maxBacklog) this.#batch.push(response, port, address);
  }

  #endTurn(): void {
    this.#scheduled = false;
    this.#busy = this.#queued > fewResponses;
    this.#queued = 0;
    this.#send();
  }

  /**
   * False where the kernel's buffer is full. An error that an earlier client's closed port has caused (ECONNREFUSED by
   * ICMP) is told at the next send, which then has not happened: so it is done again.
   */
  #sendOne(response: Buffer, port: number, address: string): boolean {
    for (let tries = 0; tries < sendTries; tries++) {
      try {
        return this.#socket?.send(response, port, address) ?? true;
      } catch {
        // Told at this client's cost, or this client cannot be reached: then it will ask again.
      }
    }
    return true;
  }

  #send(): void {
    const batch = this.#batch;
    if (this.#socket === undefined || batch.length === 0) return;
    this.#batch = [];
    let sent: number;
    try {
      sent = this.#socket.sendMany(batch);
    } catch {
      // One client's error must not cost the others their responses.
      for (let i = 0; i < batch.length; i += 3) {
        this.#sendOne(batch[i] as Buffer, batch[i + 1] as number, batch[i + 2] as string);
      }
      sent = batch.length / 3;
    }
    for (let i = 0; i < 3 * sent; i += 3) this.#responder.pool.give(batch[i] as Buffer);
    // The kernel's buffer is full: `drain` comes when there is room.
    if (3 * sent < batch.length) this.#batch = [...batch.slice(3 * sent), ...this.#batch];
  }
}
