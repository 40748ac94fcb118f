import type { Prefix } from "../lib/prefix.ts";
import { Authority, Owner } from "./owner.ts";
import { digitsOf, reverseApexes, reversedDigits } from "./reverse.ts";
import { RrType } from "./wire/constants.ts";
import { parentName, type WireName } from "./wire/name.ts";

/** Owners that are kept built at most. */
const maxBuilt = 10_000;

/**
 * PTR records of addresses within certain prefixes, and the zones in in-addr.arpa and ip6.arpa that hold them. Holds for
 * each address what it belongs to (`T`), and builds records when somebody asks for them.
 */
export class ReverseZones<T extends object> {
  readonly #ttl: number;
  readonly #targets: (target: T) => WireName | undefined;
  readonly #authorities = new Map<WireName, Authority>();
  /** By RDATA of the address. Most belong to one thing: an array for each would cost more than all the rest. */
  readonly #byAddress = new Map<string, T | T[]>();
  /** How many addresses are below each empty non-terminal, by family and digits. */
  readonly #prefixes = new Map<string, number>();
  readonly #built = new Map<WireName, Owner>();
  #builtSerial = -1;

  /** `target` names what a PTR record shall point at; undefined for what has no names now. */
  constructor(
    prefixes: Iterable<Prefix>,
    names: { mname: WireName; rname: WireName },
    ttl: number,
    target: (target: T) => WireName | undefined,
  ) {
    this.#ttl = ttl;
    this.#targets = target;
    for (const prefix of prefixes) {
      for (const apex of reverseApexes(prefix)) {
        this.#authorities.set(apex, new Authority(apex, names.mname, names.rname, ttl));
      }
    }
  }

  /** The number of addresses that belong to something. */
  get size(): number {
    return this.#byAddress.size;
  }

  add(address: string, target: T): void {
    const known = this.#byAddress.get(address);
    if (known === undefined) {
      this.#byAddress.set(address, target);
      this.#count(address, 1);
    } else if (Array.isArray(known)) known.push(target);
    else this.#byAddress.set(address, [known, target]);
  }

  remove(address: string, target: T): void {
    const known = this.#byAddress.get(address);
    if (known === target) {
      this.#byAddress.delete(address);
      this.#count(address, -1);
    } else if (Array.isArray(known)) {
      const rest = known.filter((each) => each !== target);
      this.#byAddress.set(address, rest.length === 1 ? (rest[0] as T) : rest);
    }
  }

  /** As Zone.lookup, for a name that is in one of the reverse trees. */
  lookup(name: WireName, serial: number): Owner | Authority | undefined {
    const authority = this.#authorityOf(name);
    if (authority === undefined) return undefined;
    if (this.#builtSerial !== serial || this.#built.size > maxBuilt) {
      this.#built.clear();
      this.#builtSerial = serial;
    }
    const known = this.#built.get(name);
    if (known !== undefined) return known;
    const owner = this.#build(name, authority);
    if (owner === undefined) return authority;
    owner.refresh(serial);
    this.#built.set(name, owner);
    return owner;
  }

  #build(name: WireName, authority: Authority): Owner | undefined {
    const isApex = name === authority.apex;
    const parsed = reversedDigits(name);
    const exists = parsed !== undefined && this.#exists(parsed.digits, parsed.family);
    if (!isApex && !exists) return undefined;
    const owner = isApex ? Owner.apex(authority) : new Owner(name, authority);
    const rdatas = exists ? this.#pointers(Buffer.from(parsed.digits, "hex").toString("latin1")) : [];
    owner.replace(rdatas.length === 0 ? [] : [{ type: RrType.PTR, ttl: this.#ttl, rdatas }]);
    return owner;
  }

  /** True where a PTR record stands at the name of these digits, or an address below it belongs to something. */
  #exists(digits: string, family: 4 | 6): boolean {
    if (digits.length === (family === 4 ? 8 : 32)) {
      return this.#pointers(Buffer.from(digits, "hex").toString("latin1")).length > 0;
    }
    return this.#prefixes.has(`${family} ${digits}`);
  }

  /** Counts an address at all the names above its own. */
  #count(address: string, change: 1 | -1): void {
    const digits = digitsOf(address);
    const [family, step] = address.length === 4 ? [4, 2] : [6, 1];
    for (let end = step; end < digits.length; end += step) {
      const key = `${family} ${digits.slice(0, end)}`;
      const count = (this.#prefixes.get(key) ?? 0) + change;
      if (count === 0) this.#prefixes.delete(key);
      else this.#prefixes.set(key, count);
    }
  }

  #pointers(address: string): WireName[] {
    const known = this.#byAddress.get(address);
    const all = known === undefined ? [] : Array.isArray(known) ? known : [known];
    const names = all.map(this.#targets).filter((name) => name !== undefined);
    return [...new Set(names)];
  }

  #authorityOf(name: WireName): Authority | undefined {
    for (let apex = name; apex.length > 1; apex = parentName(apex)) {
      const authority = this.#authorities.get(apex);
      if (authority !== undefined) return authority;
    }
    return undefined;
  }
}
