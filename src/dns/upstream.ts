import { createConnection } from "node:net";
import { WeftError } from "../lib/errors.ts";
import { answers } from "./response.ts";

/** An upstream gave no usable answer to one try: it timed out, refused the connection, or sent rubbish. */
export class UpstreamFailure extends WeftError {
  constructor(upstream: string, problem: string, cause?: unknown) {
    super("dns-upstream", `Upstream ${upstream}: ${problem}`, { cause });
  }
}

interface Waiting {
  query: Buffer;
  resolve(response: Buffer): void;
  reject(error: Error): void;
  timer: Timer;
}

/** A connected UDP socket: its random port, and the kernel's check of the sender, are part of an answer's proof. */
class Channel {
  readonly waiting = new Map<number, Waiting>();
  readonly born: number;
  uses = 0;
  retired = false;
  #socket: Bun.udp.ConnectedSocket<"buffer"> | undefined;

  constructor(now: number) {
    this.born = now;
  }

  get port(): number {
    return this.#socket?.port ?? 0;
  }

  async open(address: string, port: number, fail: (problem: string) => Error): Promise<void> {
    this.#socket = await Bun.udpSocket({
      // Bun binds before it connects, to an IPv4 address where nothing else is said.
      hostname: address.includes(":") ? "::" : "0.0.0.0",
      connect: { hostname: address, port },
      socket: {
        data: (_socket, data) => this.#receive(data),
        error: () => {
          // Such as ECONNREFUSED: the kernel was told that nobody listens there.
          this.retired = true;
          for (const waiting of this.waiting.values()) waiting.reject(fail("refused the query"));
        },
      },
    });
  }

  send(query: Buffer): void {
    this.#socket?.send(query);
  }

  close(): void {
    this.#socket?.close();
  }

  #receive(data: Buffer): void {
    if (data.length < 12) return;
    const waiting = this.waiting.get(data.readUInt16BE(0));
    // What does not match is somebody's guess: the true answer may still come.
    if (waiting !== undefined && answers(data, waiting.query)) waiting.resolve(data);
  }
}

const channels = 8;
/** A socket serves so many queries, or so many milliseconds, and is then replaced by one with another port. */
const channelUses = 500;
const channelLife = 30_000;

/** One server that queries are forwarded to, by UDP, and by TCP where an answer does not fit. */
export class Upstream {
  readonly address: string;
  readonly port: number;
  /** Failed tries since the last answer. */
  failures = 0;
  /** Until when it is asked only if no other upstream is left, in milliseconds. */
  downUntil = 0;
  /** Until when it is not asked at all, because it sends our own queries back. */
  loopUntil = 0;
  readonly #channels: (Promise<Channel> | undefined)[] = new Array(channels).fill(undefined);
  readonly #live = new Set<Channel>();
  #closed = false;

  constructor(address: string, port: number) {
    this.address = address;
    this.port = port;
  }

  toString(): string {
    return this.address.includes(":") ? `[${this.address}]:${this.port}` : `${this.address}:${this.port}`;
  }

  succeeded(): void {
    this.failures = 0;
    this.downUntil = 0;
  }

  /** After two failures it rests for one second, then for twice as long each time, up to half a minute. */
  failed(now: number): void {
    this.failures++;
    if (this.failures >= 2) this.downUntil = now + Math.min(30_000, 500 * 2 ** (this.failures - 1));
  }

  /**
   * True where a query with this id from this port is one that we have just sent to this upstream: a forwarding loop.
   * Nothing is waited for then; the upstream is left alone for `restMs`.
   */
  endLoop(id: number, port: number, restMs: number): boolean {
    for (const channel of this.#live) {
      const waiting = channel.port === port ? channel.waiting.get(id) : undefined;
      if (waiting === undefined) continue;
      waiting.reject(this.#failure("sends our own queries back to us"));
      this.loopUntil = Date.now() + restMs;
      return true;
    }
    return false;
  }

  /**
   * Sends a query under a fresh random id and returns the response, by TCP where the one by UDP was truncated.
   * @throws UpstreamFailure after `timeoutMs`, or at once where nobody listens there
   */
  async exchange(message: Buffer, timeoutMs: number): Promise<Buffer> {
    const query = Buffer.from(message);
    const start = Date.now();
    const response = await this.#overUdp(query, timeoutMs);
    if (((response[2] as number) & 0x02) === 0) return response;
    return this.#overTcp(query, Math.max(1, timeoutMs - (Date.now() - start)));
  }

  close(): void {
    this.#closed = true;
    for (const channel of this.#live) {
      for (const waiting of channel.waiting.values()) waiting.reject(this.#failure("was closed"));
      channel.close();
    }
    this.#live.clear();
    this.#channels.fill(undefined);
  }

  async #overUdp(query: Buffer, timeoutMs: number): Promise<Buffer> {
    const channel = await this.#channel();
    let id = randomId();
    while (channel.waiting.has(id)) id = randomId();
    query.writeUInt16BE(id, 0);
    try {
      return await new Promise<Buffer>((resolve, reject) => {
        const timer = setTimeout(() => {
          // The route or address under a connected socket may be gone: the next query takes a new one.
          channel.retired = true;
          reject(this.#failure(`did not answer within ${timeoutMs} ms`));
        }, timeoutMs);
        channel.waiting.set(id, { query, resolve, reject, timer });
        channel.send(query);
      });
    } catch (error) {
      throw error instanceof UpstreamFailure ? error : this.#failure("cannot be sent to", error);
    } finally {
      clearTimeout(channel.waiting.get(id)?.timer);
      channel.waiting.delete(id);
      if (channel.retired && channel.waiting.size === 0) this.#drop(channel);
    }
  }

  async #channel(): Promise<Channel> {
    const index = Math.floor(Math.random() * channels);
    const now = Date.now();
    let opening = this.#channels[index];
    if (opening !== undefined) {
      const known = await opening.catch(() => undefined);
      if (known !== undefined && this.#isUsable(known, now)) return known;
      // Another query may have replaced it meanwhile.
      opening = this.#channels[index] === opening ? undefined : this.#channels[index];
    }
    if (opening === undefined) {
      opening = this.#open(now);
      this.#channels[index] = opening;
    }
    return opening;
  }

  #isUsable(channel: Channel, now: number): boolean {
    if (channel.uses++ >= channelUses || now - channel.born >= channelLife) channel.retired = true;
    if (channel.retired && channel.waiting.size === 0) this.#drop(channel);
    return !channel.retired;
  }

  async #open(now: number): Promise<Channel> {
    const channel = new Channel(now);
    try {
      await channel.open(this.address, this.port, (problem) => this.#failure(problem));
    } catch (error) {
      throw this.#failure("cannot be reached", error);
    }
    this.#live.add(channel);
    if (this.#closed) {
      this.#drop(channel);
      throw this.#failure("was closed");
    }
    return channel;
  }

  #drop(channel: Channel): void {
    if (this.#live.delete(channel)) channel.close();
  }

  #overTcp(query: Buffer, timeoutMs: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const socket = createConnection({ host: this.address, port: this.port });
      let received = Buffer.alloc(0);
      const finish = (error: Error | undefined, response?: Buffer) => {
        clearTimeout(timer);
        socket.destroy();
        if (response === undefined) reject(error ?? this.#failure("closed the connection"));
        else resolve(response);
      };
      const timer = setTimeout(
        () => finish(this.#failure(`did not answer by TCP within ${timeoutMs} ms`)),
        timeoutMs,
      );
      socket.on("connect", () => {
        const frame = Buffer.alloc(2 + query.length);
        frame.writeUInt16BE(query.length, 0);
        query.copy(frame, 2);
        socket.write(frame);
      });
      socket.on("data", (chunk: Buffer) => {
        received = Buffer.concat([received, chunk]);
        if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
        const response = received.subarray(2, 2 + received.readUInt16BE(0));
        if (answers(response, query) && ((response[2] as number) & 0x02) === 0) finish(undefined, response);
        else finish(this.#failure("sent something else by TCP than the answer"));
      });
      socket.on("error", (error) => finish(this.#failure("cannot be reached by TCP", error)));
      socket.on("close", () => finish(undefined));
    });
  }

  #failure(problem: string, cause?: unknown): UpstreamFailure {
    const reason = cause instanceof Error ? `${problem}: ${cause.message}` : problem;
    return new UpstreamFailure(this.toString(), reason, cause);
  }
}

const ids = new Uint16Array(256);
let nextId = ids.length;

/** A random message id, from the system's generator (RFC 5452 section 9.2). */
function randomId(): number {
  if (nextId === ids.length) {
    crypto.getRandomValues(ids);
    nextId = 0;
  }
  return ids[nextId++] as number;
}
