import type { Ip } from "../lib/ip.ts";

/** Who holds a lease: an interface of a container. */
export interface Owner {
  containerId: string;
  ifname: string;
}

/** An address that is given out. */
export interface Lease {
  ip: Ip;
  /** `ifname` is "" for leases of reference plugins before 0.7, which did not write it. */
  owner: Owner;
}

/**
 * Where leases live. All calls but {@link LeaseStore.transaction} belong inside of one, so that what is read stays
 * true until it is acted on.
 */
export interface LeaseStore {
  /** Runs the action while nobody else does one; waits for that. The action must not await. */
  transaction<T>(action: () => T): Promise<T>;
  /** Every lease. */
  list(): Lease[];
  /** The addresses of an owner. */
  find(owner: Owner): Ip[];
  /** True where the address is given out. */
  has(ip: Ip): boolean;
  /** Gives out an address and remembers it as the last one of range set `set`; false where it is given out already. */
  reserve(ip: Ip, owner: Owner, set: number): boolean;
  /** Takes back all addresses of an owner and returns them. Nothing to take back is fine. */
  release(owner: Owner): Ip[];
  /** Takes back those of the addresses that are (still) the owner's, without looking for others. */
  releaseKnown(owner: Owner, ips: readonly Ip[]): void;
  /** Takes back one address, whoever holds it. */
  remove(ip: Ip): void;
  /** The address that was given out last from range set `set`. */
  lastReserved(set: number): Ip | undefined;
}
