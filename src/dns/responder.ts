import { type Log, silentLog } from "../lib/log.ts";
import { Answer, BufferPool, bareResponse, ownPayload } from "./answer.ts";
import { departedAnswer, negativeAnswer, ownerAnswer } from "./build.ts";
import type { DnsMetrics } from "./metrics.ts";
import { Authority, Owner } from "./owner.ts";
import { Query, Verdict } from "./query.ts";
import type { Resolver } from "./resolver.ts";
import { Rcode, RrClass, RrType } from "./wire/constants.ts";
import { maxMessage } from "./wire/writer.ts";
import type { Zone } from "./zone.ts";

/**
 * Queries that wait for upstreams at most, those for the same name counted each: more than a node's pods have, and not
 * enough for the memory of it to matter.
 */
const maxWaiting = 10_000;

/** Says that the answer takes an upstream: ask with {@link Responder.resolve}. */
export const later = Symbol("later");

/** From the bytes of a query to the bytes of its response, whatever carries them. */
export class Responder {
  readonly pool = new BufferPool();
  readonly #zone: Zone;
  readonly #resolver: Resolver | undefined;
  readonly #metrics: DnsMetrics;
  readonly #maxPayload: number;
  readonly #log: Log;
  readonly #query = new Query();
  #waiting = 0;

  constructor(
    zone: Zone,
    resolver: Resolver | undefined,
    metrics: DnsMetrics,
    maxPayload: number = ownPayload,
    log: Log = silentLog,
  ) {
    this.#zone = zone;
    this.#resolver = resolver;
    this.#metrics = metrics;
    this.#maxPayload = maxPayload;
    this.#log = log;
  }

  /** The response where zone or cache has it, undefined where there shall be none, or `later`. Does not wait. */
  answer(bytes: Buffer, tcp: boolean): Buffer | undefined | typeof later {
    const query = this.#query;
    const verdict = query.parse(bytes);
    if (verdict !== Verdict.OK) return this.#refuse(query, verdict);
    const type = query.type;
    const { queries } = this.#metrics;
    queries[type < 256 ? type : 0] = (queries[type < 256 ? type : 0] as number) + 1;
    if (query.class !== RrClass.IN || type === RrType.AXFR || type === RrType.IXFR || isMeta(type)) {
      return this.#bare(query, type === RrType.OPT ? Rcode.FORMERR : Rcode.REFUSED);
    }
    const recursion = this.#resolver !== undefined;
    const found = this.#zone.lookup(query.name);
    if (found instanceof Owner) {
      const answer = ownerAnswer(this.#zone, found, type, recursion);
      if (answer instanceof Answer) return this.#emit(answer, query, tcp);
      if (this.#resolver === undefined) {
        return this.#emit(departedAnswer(answer, type, undefined, false), query, tcp);
      }
      const target = this.#resolver.cached(answer.target, type, query.dnssecOk, query.checkingDisabled);
      if (target === undefined) return later;
      return this.#emit(departedAnswer(answer, type, target, true), query, tcp);
    }
    if (found instanceof Authority) {
      const { serial } = this.#zone;
      const length = query.questionEnd - 16;
      return this.#emit(negativeAnswer(found, length, Rcode.NXDOMAIN, serial, recursion), query, tcp);
    }
    if (this.#resolver === undefined) return this.#bare(query, Rcode.REFUSED);
    const cached = this.#resolver.cached(query.name, type, query.dnssecOk, query.checkingDisabled);
    if (cached !== undefined) {
      this.#metrics.cacheHits++;
      return this.#emit(cached, query, tcp);
    }
    // Without recursion desired, only what is here already is given (RFC 1034 section 4.3.1).
    if (!query.recursionDesired) return this.#bare(query, Rcode.REFUSED);
    this.#metrics.cacheMisses++;
    return later;
  }

  /**
   * The response to a query for which `answer` said `later`; never rejects. `port` is the client's, by which a query of
   * our own that comes back is known.
   */
  async resolve(bytes: Buffer, tcp: boolean, port: number): Promise<Buffer> {
    const query = new Query();
    query.parse(bytes);
    const resolver = this.#resolver as Resolver;
    const { type, dnssecOk, checkingDisabled } = query;
    const found = this.#zone.lookup(query.name);
    const departure = found instanceof Owner ? ownerAnswer(this.#zone, found, type, true) : undefined;
    if (departure instanceof Answer) return this.#emit(departure, query, tcp);
    const name = departure?.target ?? query.name;
    if (
      resolver.isPending(name, type, dnssecOk, checkingDisabled) &&
      resolver.forwarder.isLoop(bytes.readUInt16BE(0), port)
    ) {
      return this.#bare(query, Rcode.REFUSED);
    }
    if (this.#waiting >= maxWaiting) {
      this.#metrics.overloaded++;
      return this.#bare(query, Rcode.REFUSED);
    }
    this.#waiting++;
    const resolution = await resolver.resolve(name, type, dnssecOk, checkingDisabled);
    this.#waiting--;
    if (typeof resolution === "number") return this.#bare(query, resolution);
    if (departure === undefined) return this.#emit(resolution, query, tcp);
    return this.#emit(departedAnswer(departure, type, resolution, true), query, tcp);
  }

  /** SERVFAIL, for a fault of our own. */
  failure(bytes: Buffer, error: unknown): Buffer | undefined {
    this.#log.error("Answering a query failed", { error: String(error) });
    const query = new Query();
    return query.parse(bytes) === Verdict.DROP ? undefined : this.#bare(query, Rcode.SERVFAIL);
  }

  #emit(answer: Answer, query: Query, tcp: boolean): Buffer {
    const limit = tcp ? maxMessage : Math.min(query.payload, this.#maxPayload);
    const out = answer.emit(query, limit, this.pool);
    const { responses } = this.#metrics;
    const rcode = (out[3] as number) & 15;
    responses[rcode] = (responses[rcode] as number) + 1;
    if (((out[2] as number) & 0x02) !== 0) this.#metrics.truncated++;
    return out;
  }

  #refuse(query: Query, verdict: number): Buffer | undefined {
    if (verdict !== Verdict.DROP) return this.#bare(query, verdict);
    this.#metrics.dropped++;
    return undefined;
  }

  #bare(query: Query, rcode: number): Buffer {
    const { responses } = this.#metrics;
    responses[rcode] = (responses[rcode] ?? 0) + 1;
    return bareResponse(query, rcode, this.#resolver !== undefined);
  }
}

/** OPT and the types 128 to 254 are no data: only ANY of the meta types can be asked for (RFC 6895 section 3.1). */
function isMeta(type: number): boolean {
  return type === RrType.OPT || (type >= 128 && type < RrType.ANY);
}
