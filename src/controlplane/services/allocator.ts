import type { Service } from "../../kube/types.ts";
import { InvalidInput } from "../../lib/errors.ts";
import { type Family, Ip } from "../../lib/ip.ts";
import type { Prefix } from "../../lib/prefix.ts";

/** Why an address or port is not to be had. */
export type Refusal = "taken" | "outside" | "full";

/** The numbers of one range: addresses or ports. Who holds one is known by a Service's key. */
class Range {
  readonly #first: bigint;
  readonly #size: bigint;
  /** Numbers below are given out last, so that those who ask for one by name find the low ones free (KEP-3070). */
  readonly #low: bigint;
  readonly #holders = new Map<bigint, string>();
  #next: bigint;

  constructor(first: bigint, size: bigint, low: bigint) {
    this.#first = first;
    this.#size = size;
    this.#low = low;
    this.#next = low;
  }

  holder(number: bigint): string | undefined {
    return this.#holders.get(number);
  }

  covers(number: bigint): boolean {
    return number >= this.#first && number < this.#first + this.#size;
  }

  hold(number: bigint, key: string): void {
    this.#holders.set(number, key);
  }

  release(number: bigint, key: string): void {
    if (this.#holders.get(number) === key) this.#holders.delete(number);
  }

  /** The next free number in turn, which is not held yet; undefined where all are held or `except`ed. */
  free(except: ReadonlySet<bigint>): bigint | undefined {
    const span = this.#size - this.#low;
    const scan = (from: bigint, count: bigint, base: bigint, length: bigint): bigint | undefined => {
      for (let i = 0n; i < count; i++) {
        const offset = base + ((from - base + i) % length);
        const number = this.#first + offset;
        if (this.#holders.has(number) || except.has(number)) continue;
        return number;
      }
      return undefined;
    };
    const upper = span > 0n ? scan(this.#next, span, this.#low, span) : undefined;
    if (upper === undefined) return this.#low > 0n ? scan(0n, this.#low, 0n, this.#low) : undefined;
    this.#next = this.#low + ((upper - this.#first - this.#low + 1n) % span);
    return upper;
  }
}

export interface AllocatorOptions {
  /** One network of each family, the primary one first. */
  cidrs: readonly Prefix[];
  /** First and last port; 30000 to 32767 where not given. */
  nodePorts?: readonly [number, number];
}

/**
 * Which Service holds which ClusterIP and NodePort. It learns of them from the Services that are stored ({@link update}),
 * and so has no state of its own that could differ; finding a free number and storing it stand in one synchronous step.
 */
export class ServiceAllocator {
  readonly cidrs: readonly Prefix[];
  readonly nodePorts: readonly [number, number];
  readonly #addresses = new Map<Family, Range>();
  readonly #ports: Range;

  constructor({ cidrs, nodePorts = [30000, 32767] }: AllocatorOptions) {
    checkCidrs(cidrs);
    checkPorts(nodePorts);
    this.cidrs = cidrs;
    this.nodePorts = nodePorts;
    for (const cidr of cidrs) this.#addresses.set(cidr.family, addressRange(cidr));
    const [first, last] = nodePorts;
    const size = BigInt(last - first + 1);
    this.#ports = new Range(BigInt(first), size, lowBand(size, 16n, 32n, 128n));
  }

  /** The families that Services can have, the primary one first. */
  get families(): Family[] {
    return this.cidrs.map((cidr) => cidr.family);
  }

  /** What a stored Service holds from now on; undefined where it is gone. `old` is what it held. */
  update(key: string, service: Service | undefined, old: Service | undefined): void {
    for (const { range, number } of this.#held(old)) range.release(number, key);
    for (const { range, number } of this.#held(service)) range.hold(number, key);
  }

  /** A free address of a family, or why there is none. */
  freeAddress(family: Family): Ip | Refusal {
    const range = this.#addresses.get(family);
    if (range === undefined) return "outside";
    const number = range.free(new Set());
    return number === undefined ? "full" : Ip.fromBigInt(number, family);
  }

  /** Whether the Service may hold this address; undefined where it may. */
  checkAddress(ip: Ip, key: string): Refusal | undefined {
    return refusal(this.#addresses.get(ip.family), ip.toBigInt(), key);
  }

  freePort(except: ReadonlySet<number>): number | Refusal {
    const number = this.#ports.free(new Set([...except].map(BigInt)));
    return number === undefined ? "full" : Number(number);
  }

  checkPort(port: number, key: string): Refusal | undefined {
    return refusal(this.#ports, BigInt(port), key);
  }

  #held(service: Service | undefined): { range: Range; number: bigint }[] {
    if (service === undefined) return [];
    const { clusterIPs = [], ports = [], healthCheckNodePort = 0 } = service.spec;
    const held: { range: Range; number: bigint }[] = [];
    for (const text of clusterIPs) {
      const ip = Ip.tryParse(text);
      const range = ip === undefined ? undefined : this.#addresses.get(ip.family);
      if (ip !== undefined && range !== undefined) held.push({ range, number: ip.toBigInt() });
    }
    for (const port of [...ports.map(({ nodePort = 0 }) => nodePort), healthCheckNodePort]) {
      if (port !== 0) held.push({ range: this.#ports, number: BigInt(port) });
    }
    return held;
  }
}

function refusal(range: Range | undefined, number: bigint, key: string): Refusal | undefined {
  if (range === undefined || !range.covers(number)) return "outside";
  const holder = range.holder(number);
  return holder === undefined || holder === key ? undefined : "taken";
}

/** All but the network's first address and, of IPv4, its last. At most 2^16 of them are given out by themselves. */
function addressRange(cidr: Prefix): Range {
  const whole = cidr.last - cidr.first + 1n;
  const size = whole - 1n - (cidr.family === 4 ? 1n : 0n);
  return new Range(cidr.first + 1n, size, lowBand(size, 16n, 16n, 256n));
}

function lowBand(size: bigint, least: bigint, share: bigint, most: bigint): bigint {
  if (size < least) return 0n;
  const part = size / share;
  return part < least ? least : part > most ? most : part;
}

function checkCidrs(cidrs: readonly Prefix[]): void {
  const texts = cidrs.map(String);
  if (
    cidrs.length === 0 ||
    cidrs.length > 2 ||
    (cidrs.length === 2 && cidrs[0]?.family === cidrs[1]?.family)
  ) {
    throw new InvalidInput("serviceCidrs", texts, "is not one network, or one of each family", {
      remedy: "Give one like 10.96.0.0/16, or two like 10.96.0.0/16 and fd00:10:96::/112",
    });
  }
  for (const [i, cidr] of cidrs.entries()) {
    const least = cidr.ip.bits - 3;
    if (!cidr.isMasked()) {
      throw new InvalidInput(`serviceCidrs[${i}]`, String(cidr), "has host bits set", {
        remedy: `Write it as ${cidr.masked()}`,
      });
    }
    if (cidr.length > least) {
      throw new InvalidInput(`serviceCidrs[${i}]`, String(cidr), "is too small for Services", {
        remedy: `Give a network of /${least} or larger`,
      });
    }
  }
}

function checkPorts([first, last]: readonly [number, number]): void {
  if (Number.isInteger(first) && Number.isInteger(last) && first >= 1 && last <= 65535 && first <= last)
    return;
  throw new InvalidInput("nodePorts", [first, last], "is not a range of ports", {
    remedy: "Give the first and the last port, like 30000 and 32767",
  });
}
