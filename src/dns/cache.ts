import type { Answer } from "./answer.ts";
import type { UpstreamResponse } from "./response.ts";
import { Rcode } from "./wire/constants.ts";
import type { WireName } from "./wire/name.ts";

export interface CacheOptions {
  /** Entries kept at most; 10,000 where not given. 0 turns the cache off. */
  entries?: number;
  /** Bytes of messages kept at most; 16 MiB where not given. */
  bytes?: number;
  /** The longest that an answer is kept, in seconds; 3600 where not given. */
  maxTtl?: number;
  /** The longest that a negative answer is kept, in seconds (RFC 2308 section 5); 1800 where not given. */
  maxNegativeTtl?: number;
  /** How long SERVFAIL is kept, in seconds (RFC 9520 section 3.2 wants 1 to 300); 5 where not given. */
  failureTtl?: number;
  /** How long an expired answer may still be given when no upstream answers (RFC 8767), in seconds; 3600. */
  staleTtl?: number;
}

export interface CacheEntry {
  readonly name: WireName;
  readonly type: number;
  /** Bits that make a different answer: 1 for DO, 2 for CD. */
  readonly flags: number;
  readonly answer: Answer;
  readonly rcode: number;
  /** Times in milliseconds. */
  readonly storedAt: number;
  expiresAt: number;
  /** Until when it may be given though it expired. */
  readonly staleUntil: number;
  /** The least TTL that is shown: that of stale answers once it was revived. */
  leastTtl: number;
  /** Was given since it was last looked at for eviction. */
  used: boolean;
  /** Another entry of the same name. */
  next: CacheEntry | undefined;
}

/** RFC 8767 section 5 recommends 30 seconds for the TTL of stale answers. */
const staleTtl = 30;
/** How long a revived entry is given without asking again, in milliseconds. */
const staleRecheck = 5000;
/** Entries of one name with different types or flags. */
const maxTypes = 16;

/** Answers of upstreams, by name: bounded in number and bytes, positive and negative (RFC 2308), with ageing TTLs. */
export class Cache {
  readonly #entries = new Map<WireName, CacheEntry>();
  readonly #limits: Required<CacheOptions>;
  #count = 0;
  #bytes = 0;

  constructor(options: CacheOptions = {}) {
    this.#limits = {
      entries: options.entries ?? 10_000,
      bytes: options.bytes ?? 16 << 20,
      maxTtl: options.maxTtl ?? 3600,
      maxNegativeTtl: options.maxNegativeTtl ?? 1800,
      failureTtl: options.failureTtl ?? 5,
      staleTtl: options.staleTtl ?? 3600,
    };
  }

  get size(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** A fresh entry, its TTLs lowered to what is left at `now` (milliseconds). */
  get(name: WireName, type: number, flags: number, now: number): CacheEntry | undefined {
    const entry = this.#find(name, type, flags);
    if (entry === undefined || entry.expiresAt <= now) return undefined;
    entry.used = true;
    entry.answer.age(ageOf(entry, now), entry.leastTtl);
    return entry;
  }

  /** An entry that expired, but not too long ago; for when nothing better is to be had. */
  getStale(name: WireName, type: number, flags: number, now: number): CacheEntry | undefined {
    const entry = this.#find(name, type, flags);
    return entry === undefined || entry.staleUntil <= now ? undefined : entry;
  }

  /** Lets a stale entry count as fresh for a few seconds, so that not every query waits for dead upstreams. */
  revive(entry: CacheEntry, now: number): void {
    entry.expiresAt = Math.min(now + staleRecheck, entry.staleUntil);
    entry.leastTtl = staleTtl;
    entry.answer.age(ageOf(entry, now), staleTtl);
  }

  /** Keeps a response for as long as it and the limits allow. */
  put(name: WireName, type: number, flags: number, response: UpstreamResponse, now: number): void {
    const seconds = this.#lifetime(response);
    if (seconds <= 0 || this.#limits.entries === 0) return;
    const old = this.#find(name, type, flags);
    this.#remove(old ?? this.#overflowing(name));
    const entry: CacheEntry = {
      name,
      type,
      flags,
      answer: response.answer,
      rcode: response.rcode,
      storedAt: now,
      expiresAt: now + seconds * 1000,
      staleUntil: now + (response.rcode === Rcode.SERVFAIL ? 0 : seconds + this.#limits.staleTtl) * 1000,
      leastTtl: 0,
      used: false,
      next: this.#entries.get(name),
    };
    this.#entries.set(name, entry);
    this.#count++;
    this.#bytes += cost(entry);
    while (this.#count > this.#limits.entries || this.#bytes > this.#limits.bytes) this.#evict(now);
  }

  clear(): void {
    this.#entries.clear();
    this.#count = 0;
    this.#bytes = 0;
  }

  #lifetime({ rcode, ttl, negative }: UpstreamResponse): number {
    if (rcode === Rcode.SERVFAIL) return this.#limits.failureTtl;
    if (rcode !== Rcode.NOERROR && rcode !== Rcode.NXDOMAIN) return 0;
    return Math.min(ttl, negative ? this.#limits.maxNegativeTtl : this.#limits.maxTtl);
  }

  #find(name: WireName, type: number, flags: number): CacheEntry | undefined {
    let entry = this.#entries.get(name);
    while (entry !== undefined && (entry.type !== type || entry.flags !== flags)) entry = entry.next;
    return entry;
  }

  /** Drops the oldest name that was not used since the last look (second chance), with all its entries. */
  #evict(now: number): void {
    for (const [name, first] of this.#entries) {
      if (first.used && first.expiresAt > now) {
        first.used = false;
        this.#entries.delete(name);
        this.#entries.set(name, first);
        continue;
      }
      for (let entry: CacheEntry | undefined = first; entry !== undefined; entry = entry.next) {
        this.#count--;
        this.#bytes -= cost(entry);
      }
      this.#entries.delete(name);
      return;
    }
  }

  /** The oldest of a name's entries, where they are so many that looking through them would take long. */
  #overflowing(name: WireName): CacheEntry | undefined {
    let length = 0;
    let last: CacheEntry | undefined;
    for (let entry = this.#entries.get(name); entry !== undefined; entry = entry.next) {
      length++;
      last = entry;
    }
    return length < maxTypes ? undefined : last;
  }

  #remove(entry: CacheEntry | undefined): void {
    if (entry === undefined) return;
    this.#count--;
    this.#bytes -= cost(entry);
    const first = this.#entries.get(entry.name);
    if (first === entry) {
      if (entry.next === undefined) this.#entries.delete(entry.name);
      else this.#entries.set(entry.name, entry.next);
      return;
    }
    for (let at = first; at !== undefined; at = at.next) if (at.next === entry) at.next = entry.next;
  }
}

function ageOf(entry: CacheEntry, now: number): number {
  return Math.floor((now - entry.storedAt) / 1000);
}

/** About what an entry takes: the message twice (with and without OPT), and its objects. */
function cost(entry: CacheEntry): number {
  return 2 * entry.answer.plain.length + 400;
}
