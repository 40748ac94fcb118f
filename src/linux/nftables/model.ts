import type { Datum, TypeSpec } from "./datatypes.ts";
import type { Expression } from "./expressions.ts";
import type { Verdict } from "./verdict.ts";

export type { Verdict };

/** The families of tables, by the names of nft. */
export type Family = "inet" | "ip" | "ip6" | "arp" | "bridge" | "netdev";

/** Names a table. */
export interface TableRef {
  readonly family: Family;
  readonly name: string;
}

/** A table. `owner`: only the socket that made it may change it, and it goes with that socket. */
export interface Table extends TableRef {
  readonly kind: "table";
  readonly flags?: readonly ("dormant" | "owner" | "persist")[];
  readonly comment?: string;
  /** Given by the kernel. */
  readonly handle?: number;
}

interface InTable {
  /** The transaction's table where not given. Not set on what a dump returns. */
  readonly table?: TableRef;
}

export type ChainType = "filter" | "nat" | "route";
export type Hook = "prerouting" | "input" | "forward" | "output" | "postrouting" | "ingress" | "egress";

/** A chain: a base chain with `type`, `hook` and `priority`, or without them one to be jumped to. */
export interface Chain extends InTable {
  readonly kind: "chain";
  readonly name: string;
  readonly type?: ChainType;
  readonly hook?: Hook;
  /** Lower numbers come first: -100 is nft's dstnat, 0 filter, 100 srcnat. */
  readonly priority?: number;
  /** What happens to packets at the end of a base chain; accept where not given. */
  readonly policy?: "accept" | "drop";
  /** The interfaces of an ingress or egress chain. */
  readonly devices?: readonly string[];
  readonly comment?: string;
  readonly handle?: number;
}

/** A rule of a chain: its expressions in order. See the builder for a way to write them that reads well. */
export interface Rule extends InTable {
  readonly kind: "rule";
  readonly chain: string;
  readonly expressions: readonly Expression[];
  readonly comment?: string;
  /** Given by the kernel; names the rule to replace or delete. */
  readonly handle?: number;
  /** The handle of the rule to add after, or to insert before; otherwise the chain's end or start. */
  readonly position?: number;
}

export type SetFlag = "constant" | "interval" | "timeout" | "dynamic";

/** What sets and maps have in common. */
export interface SetBase extends InTable {
  readonly name: string;
  /** The type of the keys: one, or several side by side. */
  readonly key: TypeSpec;
  readonly flags?: readonly SetFlag[];
  /** How long an element lives where it does not say so itself, in milliseconds. */
  readonly timeout?: number;
  /** How often the kernel removes what timed out, in milliseconds. */
  readonly gcInterval?: number;
  /** The greatest number of elements; unlimited where not given (65,535 for dynamic sets). */
  readonly size?: number;
  /** The kernel prefers a faster or a smaller structure. */
  readonly policy?: "performance" | "memory";
  /** For sets with intervals: nft merges ranges that touch. The kernel does not look at it. */
  readonly autoMerge?: boolean;
  /** State that each element keeps, such as a counter. */
  readonly expressions?: readonly Expression[];
  readonly comment?: string;
  readonly handle?: number;
  readonly elements?: readonly Element[];
}

/** A named set. */
export interface NftSet extends SetBase {
  readonly kind: "set";
}

/** A named map: data of some type, or a verdict, for each key. */
export interface NftMap extends SetBase {
  readonly kind: "map";
  readonly data: TypeSpec | "verdict";
}

/** One or several values, as many as the set's type has fields. */
export type Values = Datum | readonly Datum[];

/** An element of a set or map. */
export interface Element {
  /** The key; "*" is what matches where nothing else does. */
  readonly key: Values;
  /** Of a map. */
  readonly data?: Values | Verdict;
  /** Milliseconds. */
  readonly timeout?: number;
  /** Milliseconds that are left. */
  readonly expires?: number;
  readonly comment?: string;
  /** State of this element, such as a counter and its values. */
  readonly expressions?: readonly Expression[];
}

/** Elements to add to or delete from a set or map, of which name and types are needed. */
export interface Elements extends InTable {
  readonly kind: "elements";
  readonly set: NftSet | NftMap;
  readonly elements: readonly Element[];
}

/** A named counter, which rules refer to. */
export interface Counter extends InTable {
  readonly kind: "counter";
  readonly name: string;
  readonly packets?: number;
  readonly bytes?: number;
  readonly comment?: string;
  readonly handle?: number;
}

/** All that a transaction can add. */
export type NftObject = Table | Chain | Rule | NftSet | NftMap | Elements | Counter;

/** What a dump of a table returns. Rules stand in the order of their chains. */
export interface Ruleset {
  /** The ruleset's generation at the time of the dump; see {@link ApplyOptions}. */
  readonly generation: number;
  readonly table: Table;
  readonly chains: Chain[];
  readonly sets: (NftSet | NftMap)[];
  readonly counters: Counter[];
  readonly rules: Rule[];
}
