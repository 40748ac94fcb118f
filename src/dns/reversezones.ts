import type { Ip } from "../lib/ip.ts";
import type { Prefix } from "../lib/prefix.ts";
import { Authority, Owner } from "./owner.ts";
import { reverseApexes, reverseName } from "./reverse.ts";
import { RrType } from "./wire/constants.ts";
import { parentName, type WireName } from "./wire/name.ts";

/** The PTR records of addresses within certain prefixes, and the zones in in-addr.arpa and ip6.arpa that hold them. */
export class ReverseZones {
  readonly #ttl: number;
  readonly #authorities = new Map<WireName, Authority>();
  /** Apexes and owners of PTR records; the empty non-terminals between them are found by search. */
  readonly #owners = new Map<WireName, Owner>();

  constructor(prefixes: Iterable<Prefix>, mname: WireName, rname: WireName, ttl: number) {
    this.#ttl = ttl;
    for (const prefix of prefixes) {
      for (const apex of reverseApexes(prefix)) {
        const authority = new Authority(apex, mname, rname, ttl);
        this.#authorities.set(apex, authority);
        this.#owners.set(apex, Owner.apex(authority));
      }
    }
  }

  get size(): number {
    return this.#owners.size;
  }

  /** As Zone.lookup, for a name that is in one of the reverse trees. */
  lookup(name: WireName): Owner | Authority | undefined {
    const authority = this.#authorityOf(name);
    if (authority === undefined) return undefined;
    const owner = this.#owners.get(name);
    if (owner !== undefined) return owner;
    // Labels of PTR owners hold digits and letters only, so that a tail always begins where a label does.
    for (const known of this.#owners.keys()) {
      if (known.length > name.length && known.endsWith(name)) return new Owner(name, authority);
    }
    return authority;
  }

  /** Adds targets to an address's PTR records; an address outside the prefixes has none. */
  add(ip: Ip, targets: readonly WireName[]): void {
    const name = reverseName(ip);
    let owner = this.#owners.get(name);
    if (owner === undefined) {
      const authority = this.#authorityOf(name);
      if (authority === undefined) return;
      owner = new Owner(name, authority);
      this.#owners.set(name, owner);
    }
    this.#replace(owner, [...(owner.setOf(RrType.PTR)?.rdatas ?? []), ...targets]);
  }

  remove(ip: Ip, targets: readonly WireName[]): void {
    const owner = this.#owners.get(reverseName(ip));
    if (owner === undefined) return;
    const rdatas = owner.setOf(RrType.PTR)?.rdatas ?? [];
    this.#replace(
      owner,
      rdatas.filter((rdata) => !targets.includes(rdata)),
    );
    if (owner.sets.length === 0 && !this.#authorities.has(owner.name)) this.#owners.delete(owner.name);
  }

  #replace(owner: Owner, rdatas: string[]): void {
    const others = owner.sets.filter((set) => set.type !== RrType.PTR);
    const pointers = rdatas.length === 0 ? [] : [{ type: RrType.PTR, ttl: this.#ttl, rdatas }];
    owner.replace([...others, ...pointers]);
  }

  #authorityOf(name: WireName): Authority | undefined {
    for (let apex = name; apex.length > 1; apex = parentName(apex)) {
      const authority = this.#authorities.get(apex);
      if (authority !== undefined) return authority;
    }
    return undefined;
  }
}
