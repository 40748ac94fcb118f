import { explain } from "../lib/errors.ts";
import { type Log, silentLog } from "../lib/log.ts";
import type { Answer } from "./answer.ts";
import type { Cache, CacheEntry } from "./cache.ts";
import type { Forwarder } from "./forward.ts";
import type { DnsMetrics } from "./metrics.ts";
import { Rcode, typeName } from "./wire/constants.ts";
import { nameToText, type WireName } from "./wire/name.ts";

/** What came of asking elsewhere: an answer, or the response code to send alone. */
export type Resolution = Answer | number;

/** A query waits so long for upstreams before an expired answer is given instead (RFC 8767 section 5), in ms. */
const staleAfter = 1800;
/** After upstreams failed for a question, it is not asked again for so long (RFC 9520 section 3.2), in ms. */
const failureRest = 1000;

/** How long failures are logged at "debug" after one at "warn", in ms. */
const quietTime = 10_000;

/** Names outside the zone: from the cache, or from upstreams, one query at a time for the same question. */
export class Resolver {
  readonly forwarder: Forwarder;
  readonly #cache: Cache;
  readonly #metrics: DnsMetrics;
  readonly #log: Log;
  readonly #limit: number;
  readonly #pending = new Map<string, Promise<Resolution>>();
  /** Questions that failed, and until when they rest. */
  readonly #failed = new Map<string, number>();

  #complainedAt = 0;

  /** `limit` is how many different questions may wait for upstreams at the same time. */
  constructor(forwarder: Forwarder, cache: Cache, metrics: DnsMetrics, limit: number, log: Log = silentLog) {
    this.forwarder = forwarder;
    this.#cache = cache;
    this.#metrics = metrics;
    this.#limit = limit;
    this.#log = log;
  }

  /** What the cache has, at once. */
  cached(name: WireName, type: number, dnssecOk: boolean, checkingDisabled: boolean): Answer | undefined {
    return this.#cache.get(name, type, flagsOf(dnssecOk, checkingDisabled), Date.now())?.answer;
  }

  isPending(name: WireName, type: number, dnssecOk: boolean, checkingDisabled: boolean): boolean {
    return this.#pending.has(keyOf(name, type, flagsOf(dnssecOk, checkingDisabled)));
  }

  /** Never rejects. Those who ask the same at the same time share one query, so that loops cannot multiply. */
  resolve(name: WireName, type: number, dnssecOk: boolean, checkingDisabled: boolean): Promise<Resolution> {
    const flags = flagsOf(dnssecOk, checkingDisabled);
    const key = keyOf(name, type, flags);
    const waiting = this.#pending.get(key);
    const now = Date.now();
    const stale = this.#cache.getStale(name, type, flags, now);
    if (waiting !== undefined) return stale === undefined ? waiting : this.#orStale(waiting, stale);
    if ((this.#failed.get(key) ?? 0) > now) return Promise.resolve(Rcode.SERVFAIL);
    if (this.#pending.size >= this.#limit) {
      this.#metrics.overloaded++;
      return Promise.resolve(Rcode.REFUSED);
    }
    const asking = this.#ask(name, type, flags, key).finally(() => this.#pending.delete(key));
    this.#pending.set(key, asking);
    return stale === undefined ? asking : this.#orStale(asking, stale);
  }

  close(): void {
    this.forwarder.close();
  }

  async #ask(name: WireName, type: number, flags: number, key: string): Promise<Resolution> {
    try {
      const response = await this.forwarder.resolve(name, type, (flags & 1) !== 0, (flags & 2) !== 0);
      const now = Date.now();
      if (response.rcode === Rcode.SERVFAIL && this.#cache.getStale(name, type, flags, now) !== undefined) {
        return Rcode.SERVFAIL;
      }
      this.#cache.put(name, type, flags, response, now);
      return response.answer;
    } catch (error) {
      this.#complain(name, type, error);
      this.#rest(key);
      return Rcode.SERVFAIL;
    }
  }

  /** The answer where it comes in time and is none of failure; else the expired one. */
  async #orStale(asking: Promise<Resolution>, stale: CacheEntry): Promise<Resolution> {
    let timer: Timer | undefined;
    const tooLong = new Promise<Resolution>((resolve) => {
      timer = setTimeout(() => resolve(Rcode.SERVFAIL), staleAfter);
    });
    const resolution = await Promise.race([asking, tooLong]);
    clearTimeout(timer);
    if (typeof resolution !== "number") return resolution;
    this.#metrics.staleAnswers++;
    this.#cache.revive(stale, Date.now());
    return stale.answer;
  }

  /** Many names fail when upstreams do: one line in ten seconds says it. */
  #complain(name: WireName, type: number, error: unknown): void {
    const now = Date.now();
    const level = now - this.#complainedAt < quietTime ? "debug" : "warn";
    if (level === "warn") this.#complainedAt = now;
    const fields = { name: nameToText(name), type: typeName(type), error: explain(error) };
    this.#log[level]("Cannot resolve a name", fields);
  }

  #rest(key: string): void {
    const now = Date.now();
    // Insertion order is order of time: the first ones are over first.
    for (const [old, until] of this.#failed) {
      if (until > now && this.#failed.size < this.#limit) break;
      this.#failed.delete(old);
    }
    this.#failed.set(key, now + failureRest);
  }
}

function flagsOf(dnssecOk: boolean, checkingDisabled: boolean): number {
  return (dnssecOk ? 1 : 0) | (checkingDisabled ? 2 : 0);
}

function keyOf(name: WireName, type: number, flags: number): string {
  return `${type} ${flags} ${name}`;
}
