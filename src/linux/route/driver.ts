import type { Ip } from "../../lib/ip.ts";
import type { KernelError } from "../errors.ts";
import type { Address } from "./address.ts";
import type { Change } from "./changes.ts";
import type { Link, LinkRef } from "./link.ts";
import type { Monitor, MonitorTopic } from "./monitor.ts";
import type { FdbEntry, Neighbour } from "./neighbour.ts";
import type { LookupOptions, Route, RouteFilter } from "./route.ts";
import type { Rule } from "./rule.ts";
import type { Filter, Qdisc, TcClass } from "./tc.ts";
import type { BridgeVlan } from "./vlan.ts";

export interface LinkFilter {
  kind?: string;
  master?: LinkRef;
  /** Read the counters too. */
  statistics?: boolean;
}

export interface AddressFilter {
  link?: LinkRef;
  family?: 4 | 6;
}

export interface NeighbourFilter {
  link?: LinkRef;
  family?: 4 | 6;
  /** Proxy entries instead of neighbours. */
  proxy?: boolean;
}

export interface FdbFilter {
  link?: LinkRef;
  /** The bridge. */
  master?: LinkRef;
}

/** What stands behind `Rtnl`: the kernel's rtnetlink, or the fake of it. */
export interface RtnlDriver {
  /** Makes one change. Throws {@link KernelError}. */
  change(change: Change): void;
  /** Makes changes in order, each for itself; the errors by the change's place. */
  batch(changes: readonly Change[]): Map<number, KernelError>;
  link(ref: LinkRef, statistics: boolean): Link;
  links(filter: LinkFilter): Link[];
  addresses(filter: AddressFilter): Address[];
  routes(filter: RouteFilter): Route[];
  lookup(dst: Ip, options: LookupOptions): Route;
  rules(family?: 4 | 6): Rule[];
  neighbours(filter: NeighbourFilter): Neighbour[];
  fdb(filter: FdbFilter): FdbEntry[];
  bridgeVlans(link?: LinkRef): BridgeVlan[];
  /** Of all links where none is given. */
  qdiscs(link?: LinkRef): Qdisc[];
  classes(link: LinkRef): TcClass[];
  filters(link: LinkRef, parent: string): Filter[];
  monitor(topics: readonly MonitorTopic[]): Monitor;
  close(): void;
}
