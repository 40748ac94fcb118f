import { networkInterfaces } from "node:os";
import { InvalidInput } from "../lib/errors.ts";
import { Ip } from "../lib/ip.ts";
import { type Log, silentLog } from "../lib/log.ts";
import { ownPayload } from "./answer.ts";
import { Cache, type CacheOptions } from "./cache.ts";
import { type Endpoint, Forwarder, type ForwardOptions } from "./forward.ts";
import { createMetrics, type DnsMetrics } from "./metrics.ts";
import { Resolver } from "./resolver.ts";
import { Responder } from "./responder.ts";
import { TcpListener, type TcpOptions } from "./tcp.ts";
import { UdpListener } from "./udp.ts";
import type { Zone } from "./zone.ts";

export interface DnsServerOptions {
  /** Where to serve, by UDP and TCP each. Port 0 takes a free one, the same for both. */
  listen: readonly Endpoint[];
  zone: Zone;
  /** Where to ask for names that are not in the zone; without it they are REFUSED. */
  forward?: ForwardOptions;
  cache?: CacheOptions;
  tcp?: TcpOptions;
  /** The largest response over UDP, in bytes, 512 to 4096; 1232 where not given. */
  maxUdpPayload?: number;
  /** Different questions that may wait for upstreams at the same time; more are REFUSED. 1000 where not given. */
  concurrency?: number;
  log?: Log;
}

export interface DnsServer {
  /** The addresses that are served now, with the ports that were found for port 0. */
  readonly listening: readonly Endpoint[];
  readonly metrics: DnsMetrics;
  /** Answers that are kept now. */
  readonly cacheSize: number;
  /** Serves one more address. @throws ListenFailure, with the others going on; the caller may try again */
  listen(endpoint: Endpoint): Promise<Endpoint>;
  /** Stops serving an address; nothing happens where it is not served. */
  unlisten(endpoint: Endpoint): void;
  /** Stops all. */
  close(): void;
}

interface Listener {
  endpoint: Endpoint;
  udp: UdpListener;
  tcp: TcpListener;
}

/**
 * Serves a zone, and what upstreams know, by UDP and TCP.
 * @throws ListenFailure where one of the addresses cannot be had (nothing is left open), InvalidInput for an option
 */
export async function startDnsServer(options: DnsServerOptions): Promise<DnsServer> {
  const server = new Server(options);
  try {
    for (const endpoint of options.listen) await server.listen(endpoint);
  } catch (error) {
    server.close();
    throw error;
  }
  return server;
}

class Server implements DnsServer {
  readonly metrics = createMetrics();
  readonly #options: DnsServerOptions;
  readonly #cache: Cache;
  readonly #resolver: Resolver | undefined;
  readonly #responder: Responder;
  #listeners: Listener[] = [];

  constructor(options: DnsServerOptions) {
    const log = options.log ?? silentLog;
    const payload = options.maxUdpPayload ?? ownPayload;
    if (!Number.isInteger(payload) || payload < 512 || payload > 4096) {
      throw new InvalidInput("maxUdpPayload", payload, "is not a number of bytes from 512 to 4096");
    }
    this.#options = options;
    this.#cache = new Cache(options.cache);
    if (options.forward !== undefined) {
      const forwarder = new Forwarder(options.forward, this.metrics, log);
      this.#resolver = new Resolver(forwarder, this.#cache, this.metrics, options.concurrency ?? 1000, log);
    }
    this.#responder = new Responder(options.zone, this.#resolver, this.metrics, payload, log);
  }

  get listening(): readonly Endpoint[] {
    return this.#listeners.map((listener) => listener.endpoint);
  }

  get cacheSize(): number {
    return this.#cache.size;
  }

  async listen(endpoint: Endpoint): Promise<Endpoint> {
    const address = Ip.parse(endpoint.address, "listen.address").toString();
    if (!Number.isInteger(endpoint.port) || endpoint.port < 0 || endpoint.port > 65535) {
      throw new InvalidInput("listen.port", endpoint.port, "is not a port number");
    }
    const listener = await this.#open(address, endpoint.port);
    this.#listeners.push(listener);
    this.#excludeOwn();
    return listener.endpoint;
  }

  unlisten(endpoint: Endpoint): void {
    const address = Ip.parse(endpoint.address, "listen.address").toString();
    const index = this.#listeners.findIndex(
      (listener) => listener.endpoint.address === address && listener.endpoint.port === endpoint.port,
    );
    const [listener] = index < 0 ? [] : this.#listeners.splice(index, 1);
    listener?.udp.close();
    listener?.tcp.close();
    this.#excludeOwn();
  }

  close(): void {
    for (const { udp, tcp } of this.#listeners) {
      udp.close();
      tcp.close();
    }
    this.#listeners = [];
    this.#resolver?.close();
  }

  /** A free port for TCP may be taken for UDP: a few tries find one that both can have. */
  async #open(address: string, port: number): Promise<Listener> {
    for (let tries = port === 0 ? 10 : 1; ; tries--) {
      const tcp = new TcpListener(this.#responder, this.metrics, this.#options.tcp);
      const udp = new UdpListener(this.#responder, this.metrics);
      try {
        await tcp.open(address, port);
        await udp.open(address, tcp.port);
        return { endpoint: { address, port: tcp.port }, udp, tcp };
      } catch (error) {
        tcp.close();
        if (tries === 1) throw error;
      }
    }
  }

  #excludeOwn(): void {
    const own = this.listening.flatMap(({ address, port }) => {
      if (!Ip.parse(address).isUnspecified()) return [{ address, port }];
      const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
      return all.map((each) => ({ address: each.address, port }));
    });
    this.#resolver?.forwarder.excludeOwn(own);
  }
}
