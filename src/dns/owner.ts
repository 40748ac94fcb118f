import type { Answer } from "./answer.ts";
import type { RrSet } from "./records.ts";
import { RrType } from "./wire/constants.ts";
import type { WireName } from "./wire/name.ts";

/** The names for which one SOA record speaks: the cluster domain, or a reverse zone. */
export class Authority {
  readonly apex: WireName;
  readonly ttl: number;
  readonly mname: WireName;
  readonly #rname: WireName;
  #soa: RrSet | undefined;
  #serial = -1;
  /** Negative responses for the serial of `soa`, by length of the question; see negativeAnswer. */
  negatives: (Answer | undefined)[] = [];

  constructor(apex: WireName, mname: WireName, rname: WireName, ttl: number) {
    this.apex = apex;
    this.mname = mname;
    this.#rname = rname;
    this.ttl = ttl;
  }

  /** The SOA record at a serial. Its TTL and minimum bound how long a "no" is believed (RFC 2308 section 5). */
  soa(serial: number): RrSet {
    if (this.#soa === undefined || this.#serial !== serial) {
      const numbers = Buffer.alloc(20);
      for (const [i, value] of [serial >>> 0, 7200, 1800, 86400, this.ttl].entries()) {
        numbers.writeUInt32BE(value, 4 * i);
      }
      const rdata = this.mname + this.#rname + numbers.toString("latin1");
      this.#soa = { type: RrType.SOA, ttl: this.ttl, rdatas: [rdata] };
      this.#serial = serial;
      this.negatives = [];
    }
    return this.#soa;
  }
}

const none: readonly RrSet[] = [];

/** A name that exists: with records, or as an empty non-terminal above names that have some (RFC 8020). */
export class Owner {
  readonly name: WireName;
  readonly authority: Authority;
  sets: readonly RrSet[] = none;
  /** Reasons to exist: names directly below, records, a namespace. */
  pins = 0;
  /** Responses built for this name; emptied when its records change. */
  answers: Answer[] = [];
  /** Of an apex: the serial of the SOA record in `sets`. Elsewhere -1. */
  #soaSerial = -1;

  constructor(name: WireName, authority: Authority) {
    this.name = name;
    this.authority = authority;
  }

  /** The owner of an authority's SOA and NS records. */
  static apex(authority: Authority): Owner {
    const owner = new Owner(authority.apex, authority);
    owner.#soaSerial = -2;
    return owner;
  }

  setOf(type: number): RrSet | undefined {
    for (const set of this.sets) if (set.type === type) return set;
    return undefined;
  }

  replace(sets: readonly RrSet[]): void {
    this.sets = sets.length === 0 ? none : sets;
    this.answers = [];
  }

  /** Brings an apex up to the zone's serial. */
  refresh(serial: number): void {
    if (this.#soaSerial === -1 || this.#soaSerial === serial) return;
    this.#soaSerial = serial;
    const { mname, ttl } = this.authority;
    const others = this.sets.filter((set) => set.type !== RrType.SOA && set.type !== RrType.NS);
    this.replace([this.authority.soa(serial), { type: RrType.NS, ttl, rdatas: [mname] }, ...others]);
  }
}
