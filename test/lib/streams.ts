/** Traffic that runs while something happens to the network, and knows whether it lost anything. */
import type { Namespace } from "../kernel/services-fixture.ts";

/** A stream under way: echoes that came back so far. */
export interface Stream {
  readonly echoed: number;
  /** Waits until so many more echoes are there. */
  more(count: number, milliseconds?: number): Promise<void>;
  /** Ends it. Answers what was sent and never came back, and what went wrong. */
  end(): Promise<{ lost: number; error: string | undefined }>;
}

const interval = 2;
const patience = 2000;

/** Sends a number every 2 ms in one TCP connection to an echo server (see `Namespace.serve`). */
export async function tcpStream(from: Namespace, address: string, port: number): Promise<Stream> {
  const opened = Promise.withResolvers<void>();
  let greeted = false;
  let received = "";
  let error: string | undefined;
  const echoes = new Echoes();
  const fail = (text: string) => {
    error ??= text;
    opened.reject(new Error(text));
  };
  let connection: Bun.Socket | undefined;
  from.in(() => {
    Bun.connect({
      hostname: address,
      port,
      socket: {
        open: (socket) => {
          connection = socket;
          socket.setNoDelay(true);
        },
        data: (_, chunk) => {
          received += chunk.toString();
          const lines = received.split("\n");
          received = lines.pop() ?? "";
          if (!greeted && lines.length > 0) {
            greeted = true;
            lines.shift();
            opened.resolve();
          }
          for (const line of lines) echoes.got(Number(line));
        },
        close: () => {
          if (!echoes.ended) fail("the connection was closed");
        },
        connectError: (_, cause) => fail(String(cause)),
      },
    }).catch((cause) => fail(String(cause)));
  });
  await opened.promise;
  echoes.start((number) => void connection?.write(`${number}\n`));
  return echoes.stream(
    () => connection?.end(),
    () => error,
  );
}

/** Sends a number every 2 ms by UDP, each of which a server sends back (see {@link serveUdp}). */
export async function udpStream(from: Namespace, address: string, port: number): Promise<Stream> {
  const echoes = new Echoes();
  let error: string | undefined;
  const socket = await from.in(() => ({
    made: Bun.udpSocket({
      hostname: address.includes(":") ? "::" : "0.0.0.0",
      connect: { hostname: address, port },
      socket: {
        data: (_, chunk) => echoes.got(Number(chunk.toString())),
        error: (...given) => {
          error ??= String(given.findLast((each) => each !== undefined));
        },
      },
    }),
  })).made;
  echoes.start((number) => void socket.send(String(number)));
  return echoes.stream(
    () => socket.close(),
    () => error,
  );
}

/** Sends every datagram back; the answer stops it. */
export async function serveUdp(at: Namespace, port: number): Promise<() => void> {
  const socket = await at.in(() => ({
    made: Bun.udpSocket({
      hostname: "::",
      port,
      socket: { data: (own, data, remotePort, remote) => void own.send(data, remotePort, remote) },
    }),
  })).made;
  return () => socket.close();
}

class Echoes {
  ended = false;
  #sent = 0;
  #count = 0;
  readonly #missing = new Set<number>();
  readonly #waiting = new Set<() => void>();
  #timer: Timer | undefined;

  start(send: (number: number) => void): void {
    this.#timer = setInterval(() => {
      this.#missing.add(this.#sent);
      send(this.#sent++);
    }, interval);
  }

  got(number: number): void {
    if (!this.#missing.delete(number)) return;
    this.#count++;
    for (const check of [...this.#waiting]) check();
  }

  stream(close: () => void, error: () => string | undefined): Stream {
    const self = this;
    return {
      get echoed() {
        return self.#count;
      },
      more: (count, milliseconds = 10_000) => {
        const goal = this.#count + count;
        return this.#when(
          () => this.#count >= goal,
          milliseconds,
          () => `only ${this.#count} of ${goal} echoes came: ${error()}`,
        );
      },
      end: async () => {
        clearInterval(this.#timer);
        const none = () => this.#missing.size === 0;
        await this.#when(none, patience, () => "").catch(() => {});
        this.ended = true;
        close();
        return { lost: this.#missing.size, error: error() };
      },
    };
  }

  #when(holds: () => boolean, milliseconds: number, what: () => string): Promise<void> {
    if (holds()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const done = (error?: Error) => {
        clearTimeout(timer);
        this.#waiting.delete(check);
        if (error === undefined) resolve();
        else reject(error);
      };
      const check = () => {
        if (holds()) done();
      };
      const timer = setTimeout(() => done(new Error(what())), milliseconds);
      this.#waiting.add(check);
    });
  }
}
