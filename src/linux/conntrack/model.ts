import type { Family, Ip } from "../../lib/ip.ts";
import type { Prefix } from "../../lib/prefix.ts";

/** One direction of a connection. */
export interface FlowTuple {
  readonly source: Ip;
  readonly destination: Ip;
  /** The transport protocol's number: 6 TCP, 17 UDP, 132 SCTP. */
  readonly protocol: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  /** Of ICMP and ICMPv6, in the place of ports. */
  readonly icmp?: { readonly id: number; readonly type: number; readonly code: number };
  /** Where only this direction has a zone. */
  readonly zone?: number;
}

/** A connection that the kernel tracks. */
export interface Flow {
  /** The kernel's number for it; a later one can have the same. */
  readonly id: number;
  readonly family: Family;
  /** As the first packet came. */
  readonly original: FlowTuple;
  /** As answers come, before they are translated back. */
  readonly reply: FlowTuple;
  /** Bits of {@link statusBits}. */
  readonly status: number;
  /** Seconds until it is forgotten, where no packet comes. */
  readonly timeout: number;
  readonly mark: number;
  readonly zone: number;
}

/** IPS_*: what has happened to a connection. */
export const statusBits = {
  expected: 1 << 0,
  seenReply: 1 << 1,
  assured: 1 << 2,
  confirmed: 1 << 3,
  sourceNat: 1 << 4,
  destinationNat: 1 << 5,
  dying: 1 << 9,
} as const;

/** Conditions on one direction; all that are given must hold. */
export interface TupleFilter {
  readonly source?: Ip | Prefix;
  readonly destination?: Ip | Prefix;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
}

/** Which connections; all conditions that are given must hold. */
export interface FlowFilter {
  readonly family?: Family;
  /** The transport protocol's number: 6 TCP, 17 UDP, 132 SCTP. */
  readonly protocol?: number;
  readonly original?: TupleFilter;
  readonly reply?: TupleFilter;
  readonly zone?: number;
  /** Compared under the mask, all bits where none is given. */
  readonly mark?: { readonly value: number; readonly mask?: number };
  /** All of these bits of {@link statusBits} are set. */
  readonly status?: number;
}

/** Connection tracking of one network namespace. */
export interface ConntrackApi {
  /** The connections that any of the filters is true for; all where none is given. */
  list(filter?: FlowFilter | readonly FlowFilter[]): Flow[];
  /**
   * Deletes the connections that any of the filters is true for, and returns how many. The next packet of such a
   * connection is looked at as the first of a new one. Throws `InvalidInput` for a filter without conditions.
   */
  delete(filter: FlowFilter | readonly FlowFilter[]): number;
  /** How many connections are tracked. */
  count(): number;
  close(): void;
}
