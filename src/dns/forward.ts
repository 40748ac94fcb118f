import { readFileSync, statSync } from "node:fs";
import { explain, InvalidInput, WeftError } from "../lib/errors.ts";
import { Ip } from "../lib/ip.ts";
import { type Log, silentLog } from "../lib/log.ts";
import { ownPayload } from "./answer.ts";
import type { DnsMetrics } from "./metrics.ts";
import { parseResolvConf } from "./resolvconf.ts";
import { acceptResponse, type UpstreamResponse } from "./response.ts";
import { Upstream } from "./upstream.ts";
import { Rcode, RrClass, RrType } from "./wire/constants.ts";
import { isDnsFormatError } from "./wire/errors.ts";
import type { WireName } from "./wire/name.ts";
import { Writer } from "./wire/writer.ts";

export interface ForwardOptions {
  /** Servers to ask, such as "10.0.0.53", "10.0.0.53:5353" or "[fd00::53]:53". */
  upstreams?: readonly string[];
  /** A resolv.conf(5) file whose nameservers are asked (after `upstreams`); it is read again when it changes. */
  resolvConf?: string;
  /** "random" (the default) spreads queries; "sequential" asks the first that works. */
  policy?: "random" | "sequential";
  /** How long one try may take, in milliseconds; 2000 where not given. */
  timeoutMs?: number;
  /** How long all tries for one query may take, in milliseconds; 4500, so that stub resolvers (5 s) still listen. */
  deadlineMs?: number;
}

export interface Endpoint {
  address: string;
  port: number;
}

/** No upstream answered. */
export class ForwardFailed extends WeftError {
  constructor(problem: string, cause?: unknown) {
    super("dns-forward", problem, { cause });
  }
}

/** How often the resolv.conf file is looked at, in milliseconds. */
const recheck = 5000;
/** How long an upstream that sends our own queries back to us is left alone, in milliseconds. */
const loopRest = 60_000;

/** Asks upstream servers in turn until one gives an answer. */
export class Forwarder {
  readonly #options: Required<Omit<ForwardOptions, "resolvConf">> & { resolvConf: string | undefined };
  readonly #metrics: DnsMetrics;
  readonly #log: Log;
  #upstreams: Upstream[] = [];
  #own: readonly Endpoint[] = [];
  #checkedAt = 0;
  #fileVersion = "";
  /** Why the file could not be read, told once. */
  #problem = "";

  /** @throws InvalidInput for an upstream that is no address, or a policy that does not exist */
  constructor(options: ForwardOptions, metrics: DnsMetrics, log: Log = silentLog) {
    this.#options = {
      upstreams: options.upstreams ?? [],
      resolvConf: options.resolvConf,
      policy: options.policy ?? "random",
      timeoutMs: options.timeoutMs ?? 2000,
      deadlineMs: options.deadlineMs ?? 4500,
    };
    if (!["random", "sequential"].includes(this.#options.policy)) {
      throw new InvalidInput("forward.policy", options.policy, "is unknown", {
        remedy: 'Write "random" or "sequential"',
      });
    }
    for (const upstream of this.#options.upstreams) parseEndpoint(upstream, "forward.upstreams");
    this.#metrics = metrics;
    this.#log = log;
    this.#load();
  }

  /** The servers that are asked now. */
  get upstreams(): readonly Upstream[] {
    return this.#upstreams;
  }

  /** Names the addresses at which we listen ourselves; an upstream among them is left out, as it would be a loop. */
  excludeOwn(own: readonly Endpoint[]): void {
    this.#own = own;
    this.#fileVersion = "";
    this.#load();
  }

  /**
   * True where a query that arrived from `port` with this id is one of those that are waiting for an upstream's answer:
   * the upstream sends our queries back to us. It is left alone for a minute.
   */
  isLoop(id: number, port: number): boolean {
    const upstream = this.#upstreams.find((candidate) => candidate.endLoop(id, port, loopRest));
    if (upstream === undefined) return false;
    this.#log.error("Upstream sends our queries back to us; leaving it alone for a minute", {
      upstream: upstream.toString(),
      remedy: "Name a server that does not forward to this one",
    });
    return true;
  }

  /**
   * The response of the first upstream that gives a good one. SERVFAIL, REFUSED and NOTIMP count as an answer only when
   * no other upstream has a better one.
   * @throws ForwardFailed where none answered
   */
  async resolve(
    name: WireName,
    type: number,
    dnssecOk: boolean,
    checkingDisabled: boolean,
  ): Promise<UpstreamResponse> {
    this.#reload();
    const start = Date.now();
    const query = buildQuery(name, type, dnssecOk, checkingDisabled);
    const order = this.#order(start);
    const tries = order.length === 1 ? [...order, ...order] : order;
    let second: UpstreamResponse | undefined;
    let cause: unknown;
    for (const upstream of tries) {
      const left = this.#options.deadlineMs - (Date.now() - start);
      if (left <= 0) break;
      if (upstream.loopUntil > Date.now()) continue;
      try {
        const response = await this.#try(upstream, query, type, Math.min(this.#options.timeoutMs, left));
        if (response.rcode === Rcode.NOERROR || response.rcode === Rcode.NXDOMAIN) return response;
        this.#metrics.forwardFailures++;
        second ??= response;
        if (order.length === 1) break;
      } catch (error) {
        this.#metrics.forwardFailures++;
        upstream.failed(Date.now());
        cause = error;
        this.#log.debug("Upstream failed", { upstream: upstream.toString(), error: explain(error) });
      }
    }
    if (second !== undefined) return second;
    if (order.length === 0) throw new ForwardFailed("There is no upstream server to forward to");
    throw new ForwardFailed(`None of ${order.length} upstream servers answered`, cause);
  }

  close(): void {
    for (const upstream of this.#upstreams) upstream.close();
    this.#upstreams = [];
  }

  async #try(upstream: Upstream, query: Buffer, type: number, timeoutMs: number): Promise<UpstreamResponse> {
    this.#metrics.forwards++;
    let raw = await upstream.exchange(query, timeoutMs);
    const refused = (raw[3] as number) & 15;
    if ((refused === Rcode.FORMERR || refused === Rcode.NOTIMP) && raw.readUInt16BE(10) === 0) {
      // RFC 6891 section 7: a server that does not know EDNS says so like this.
      const plain = Buffer.from(query.subarray(0, query.length - 11));
      plain.writeUInt16BE(0, 10);
      raw = await upstream.exchange(plain, timeoutMs);
    }
    try {
      const response = acceptResponse(raw, type);
      upstream.succeeded();
      return response;
    } catch (error) {
      if (!isDnsFormatError(error)) throw error;
      throw new ForwardFailed(`Upstream ${upstream} sent a malformed answer`, error);
    }
  }

  /** Those that work, by the policy; then the others, the one to come back soonest first. */
  #order(now: number): Upstream[] {
    const usable = this.#upstreams.filter((upstream) => upstream.loopUntil <= now);
    const up = usable.filter((upstream) => upstream.downUntil <= now);
    const down = usable.filter((upstream) => upstream.downUntil > now);
    down.sort((a, b) => a.downUntil - b.downUntil);
    if (this.#options.policy === "random") {
      for (let i = up.length - 1; i > 0; i--) {
        const j = Math.floor(Math.random() * (i + 1));
        [up[i], up[j]] = [up[j] as Upstream, up[i] as Upstream];
      }
    }
    return [...up, ...down];
  }

  #reload(): void {
    if (this.#options.resolvConf === undefined) return;
    const now = Date.now();
    if (now - this.#checkedAt < recheck) return;
    this.#checkedAt = now;
    this.#load();
  }

  #load(): void {
    const wanted = this.#options.upstreams.map((text) => parseEndpoint(text, "forward.upstreams"));
    const file = this.#options.resolvConf;
    if (file !== undefined) {
      try {
        const { mtimeMs, ino, size } = statSync(file);
        const version = `${mtimeMs} ${ino} ${size}`;
        if (version === this.#fileVersion) return;
        for (const address of parseResolvConf(readFileSync(file, "utf8"))) wanted.push({ address, port: 53 });
        this.#fileVersion = version;
        this.#problem = "";
      } catch (error) {
        // What was read before stays in use.
        const problem = explain(error);
        if (problem !== this.#problem) {
          this.#log.warn("Cannot read the file of nameservers", {
            file,
            error: problem,
            effect: "names outside the cluster may not be found",
          });
        }
        this.#problem = problem;
        if (this.#upstreams.length > 0) return;
      }
    }
    this.#replace(wanted);
  }

  #replace(wanted: readonly Endpoint[]): void {
    const before = this.#upstreams;
    const after: Upstream[] = [];
    for (const { address, port } of wanted) {
      if (this.#own.some((own) => own.port === port && own.address === address)) {
        this.#log.warn("Leaving out an upstream that is this server itself", { address, port });
        continue;
      }
      const same = (upstream: Upstream) => upstream.address === address && upstream.port === port;
      if (!after.some(same)) after.push(before.find(same) ?? new Upstream(address, port));
    }
    for (const upstream of before) if (!after.includes(upstream)) upstream.close();
    this.#upstreams = after;
  }
}

function buildQuery(name: WireName, type: number, dnssecOk: boolean, checkingDisabled: boolean): Buffer {
  const writer = new Writer();
  // RD; AD asks for that bit in the answer (RFC 6840 section 5.7).
  for (const word of [0, checkingDisabled ? 0x0130 : 0x0120, 1, 0, 0, 1]) writer.u16(word);
  writer.name(name, false);
  for (const word of [type, RrClass.IN]) writer.u16(word);
  writer.u8(0);
  for (const word of [RrType.OPT, ownPayload, 0, dnssecOk ? 0x8000 : 0, 0]) writer.u16(word);
  return writer.finish();
}

/** An address with an optional port (53 where not given): "10.0.0.53", "10.0.0.53:5353", "fd00::53", "[fd00::53]:5353". */
export function parseEndpoint(text: string, field: string): Endpoint {
  const bracketed = /^\[([^\]]+)\](?::([0-9]{1,5}))?$/.exec(text);
  const plain = /^([0-9.]+)(?::([0-9]{1,5}))?$/.exec(text);
  const [address, port] = bracketed?.slice(1, 3) ?? plain?.slice(1, 3) ?? [text, undefined];
  const number = port === undefined ? 53 : Number(port);
  const valid = address !== undefined && Ip.tryParse(address.replace(/%[\w.-]+$/, "")) !== undefined;
  if (!valid || number < 1 || number > 65535) {
    throw new InvalidInput(field, text, "is not an address with an optional port", {
      remedy: "Write it like 10.0.0.53, 10.0.0.53:5353 or [fd00::53]:53",
    });
  }
  return { address, port: number };
}
