import type { Ip } from "../lib/ip.ts";

/** Who holds a lease: an interface of a container. */
export interface Owner {
  containerId: string;
  ifname: string;
}

/** Where an owner was when it got its addresses. */
export interface Holder {
  /** The path of its network namespace. */
  netns: string;
  /** The host's boot (/proc/sys/kernel/random/boot_id). */
  boot: string;
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
  /**
   * Runs the action while nobody else does one; waits for that, but not without end, and not when the signal has aborted.
   * The action must not await.
   */
  transaction<T>(action: () => T, signal?: AbortSignal): Promise<T>;
  /** Every lease. */
  list(): Lease[];
  /** The addresses of an owner. */
  find(owner: Owner): Ip[];
  /** True where the address is given out. */
  has(ip: Ip): boolean;
  /** Gives out an address and remembers it as the last one of range set `set`; false where it is given out already. */
  reserve(ip: Ip, owner: Owner, set: number): boolean;
  /** Remembers what an owner is about to get, so that it is found again: before {@link LeaseStore.reserve}. */
  remember(owner: Owner, ips: readonly Ip[], holder: Holder): void;
  /** Takes back all that an owner has and returns its addresses. Nothing to take back is fine. */
  release(owner: Owner): Ip[];
  /** Remembers an owner no more, who has no leases. */
  forget(owner: Owner): void;
  /** Those who are remembered. Leases that others made have no such owner. */
  remembered(): { owner: Owner; holder: Holder }[];
  /** Takes back one address, whoever holds it. */
  remove(ip: Ip): void;
  /** The address that was given out last from range set `set`. */
  lastReserved(set: number): Ip | undefined;
}
