import { InvalidInput } from "./errors.ts";
import { type Family, Ip } from "./ip.ts";

/** An address with a prefix length, such as 10.244.1.7/24: what an interface has, or (masked) a network. */
export class Prefix {
  readonly ip: Ip;
  readonly length: number;

  constructor(ip: Ip, length: number, field = "prefix") {
    if (!Number.isInteger(length) || length < 0 || length > ip.bits) {
      throw new InvalidInput(field, `${ip}/${length}`, `has a length outside 0 to ${ip.bits}`);
    }
    this.ip = ip;
    this.length = length;
  }

  /** Parses "address/length". Host bits are kept; `masked` clears them. */
  static parse(text: string, field = "prefix"): Prefix {
    const slash = text.indexOf("/");
    const ip = slash < 0 ? undefined : Ip.tryParse(text.slice(0, slash));
    const length = ip === undefined ? undefined : parseLength(text, slash + 1);
    if (ip === undefined || length === undefined) {
      throw new InvalidInput(field, text, "is not a prefix", {
        remedy: "Write it like 10.244.0.0/16 or fd00:10:244::/56",
      });
    }
    return new Prefix(ip, length, field);
  }

  /** The prefix that covers just this address: /32 or /128. */
  static host(ip: Ip): Prefix {
    return new Prefix(ip, ip.bits);
  }

  /** 0.0.0.0/0 or ::/0. */
  static default(family: Family): Prefix {
    return new Prefix(Ip.fromBigInt(0n, family), 0);
  }

  get family(): Family {
    return this.ip.family;
  }

  /** The same network with the host bits cleared. */
  masked(): Prefix {
    if (this.isMasked()) return this;
    const bytes = this.ip.bytes.map((byte, i) => byte & maskOf(this.length, i));
    return new Prefix(Ip.fromBytes(bytes), this.length);
  }

  /** True where no host bit is set, as for a network. */
  isMasked(): boolean {
    const { bytes } = this.ip;
    for (let i = this.length >> 3; i < bytes.length; i++) {
      if (((bytes[i] as number) & ~maskOf(this.length, i)) !== 0) return false;
    }
    return true;
  }

  /** The lowest address of the network, as a number. */
  get first(): bigint {
    return this.ip.toBigInt() & ~this.#hostMask;
  }

  /** The highest address of the network, as a number. */
  get last(): bigint {
    return this.ip.toBigInt() | this.#hostMask;
  }

  get #hostMask(): bigint {
    return (1n << BigInt(this.ip.bits - this.length)) - 1n;
  }

  contains(other: Ip | Prefix): boolean {
    const ip = other instanceof Ip ? other : other.ip;
    if (ip.family !== this.family) return false;
    if (other instanceof Prefix && other.length < this.length) return false;
    const [own, theirs] = [this.ip.bytes, ip.bytes];
    for (let i = 0; i * 8 < this.length; i++) {
      if ((((own[i] as number) ^ (theirs[i] as number)) & maskOf(this.length, i)) !== 0) return false;
    }
    return true;
  }

  overlaps(other: Prefix): boolean {
    return this.contains(other) || other.contains(this);
  }

  equals(other: Prefix): boolean {
    return this.length === other.length && this.ip.equals(other.ip);
  }

  toString(): string {
    return `${this.ip}/${this.length}`;
  }

  toJSON(): string {
    return this.toString();
  }
}

/** The bits of byte `i` that belong to a prefix of this length. */
function maskOf(length: number, i: number): number {
  const bits = length - i * 8;
  return bits >= 8 ? 0xff : bits <= 0 ? 0 : 0xff & (0xff << (8 - bits));
}

/** Up to three digits without leading zeros, from `start` to the end. */
function parseLength(text: string, start: number): number | undefined {
  const digits = text.length - start;
  if (digits < 1 || digits > 3 || (digits > 1 && text.charCodeAt(start) === 48)) return undefined;
  let value = 0;
  for (let i = start; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 48 || code > 57) return undefined;
    value = value * 10 + code - 48;
  }
  return value;
}
