import type { Ip } from "../../lib/ip.ts";
import { isNotFound, type KernelError } from "../errors.ts";
import type { Address, NewAddress } from "./address.ts";
import { toIp } from "./address.ts";
import type { Change, ChangeArguments } from "./changes.ts";
import type { AddressFilter, FdbFilter, LinkFilter, NeighbourFilter, RtnlDriver } from "./driver.ts";
import type { Link, LinkRef, LinkSettings, NewLink } from "./link.ts";
import type { Monitor, MonitorTopic } from "./monitor.ts";
import type { FdbEntry, Neighbour, NewFdbEntry, NewNeighbour } from "./neighbour.ts";
import { NetlinkDriver, type RtnlOptions } from "./netlink-driver.ts";
import type { LookupOptions, NewRoute, Route, RouteFilter } from "./route.ts";
import type { NewRule, Rule } from "./rule.ts";
import type { Filter, NewFilter, NewQdisc, NewTcClass, Qdisc, TcClass } from "./tc.ts";
import type { BridgeVlan, NewBridgeVlan } from "./vlan.ts";

/** Network links: virtual and real. */
export class Links {
  readonly #driver: RtnlDriver;

  constructor(driver: RtnlDriver) {
    this.#driver = driver;
  }

  /** All links, or those of a kind or of a bridge. */
  list(filter: LinkFilter = {}): Link[] {
    return this.#driver.links(filter);
  }

  /** One link. Throws ENODEV. */
  get(ref: LinkRef, options: { statistics?: boolean } = {}): Link {
    return this.#driver.link(ref, options.statistics ?? false);
  }

  /** One link, or undefined where there is none of that name or index. */
  find(ref: LinkRef): Link | undefined {
    try {
      return this.get(ref);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** The index of a link. Throws ENODEV. */
  index(ref: LinkRef): number {
    return typeof ref === "number" ? ref : this.get(ref).index;
  }

  /** Makes a link. Throws EEXIST, EOPNOTSUPP for a kind that the kernel lacks. */
  add(link: NewLink): void {
    this.#driver.change({ addLink: link });
  }

  /** Changes what is given and leaves the rest. Moves the link where `netns` is given, renames it where `name` is. */
  set(ref: LinkRef, settings: LinkSettings): void {
    this.#driver.change({ setLink: { ...settings, link: ref } });
  }

  /** Deletes a link; the other end of a pair goes with it. Throws ENODEV. */
  delete(ref: LinkRef): void {
    this.#driver.change({ deleteLink: { link: ref } });
  }

  /** Deletes all links of a group in one go, which costs the kernel hardly more than one. Throws ENODEV. */
  deleteGroup(group: number): void {
    this.#driver.change({ deleteLink: { group } });
  }

  addAltNames(ref: LinkRef, ...names: string[]): void {
    this.#driver.change({ addAltNames: { link: ref, names } });
  }

  deleteAltNames(ref: LinkRef, ...names: string[]): void {
    this.#driver.change({ deleteAltNames: { link: ref, names } });
  }
}

/** Addresses of links. */
export class Addresses {
  readonly #driver: RtnlDriver;

  constructor(driver: RtnlDriver) {
    this.#driver = driver;
  }

  list(filter: AddressFilter = {}): Address[] {
    return this.#driver.addresses(filter);
  }

  /** Throws EEXIST. */
  add(address: NewAddress): void {
    this.#driver.change({ addAddress: address });
  }

  /** Adds the address, or changes the one that is there. */
  replace(address: NewAddress): void {
    this.#driver.change({ replaceAddress: address });
  }

  /** Throws EADDRNOTAVAIL. */
  delete(address: NewAddress): void {
    this.#driver.change({ deleteAddress: address });
  }
}

/** Routes of all tables. */
export class Routes {
  readonly #driver: RtnlDriver;

  constructor(driver: RtnlDriver) {
    this.#driver = driver;
  }

  /** The routes of the main table, or as the filter says. */
  list(filter: RouteFilter = {}): Route[] {
    return this.#driver.routes(filter);
  }

  /** Which way a packet to `dst` would go (`ip route get`). Throws ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL. */
  lookup(dst: Ip | string, options: LookupOptions = {}): Route {
    return this.#driver.lookup(toIp(dst, "dst"), options);
  }

  /** Throws EEXIST, ENETUNREACH where the gateway cannot be reached. */
  add(route: NewRoute): void {
    this.#driver.change({ addRoute: route });
  }

  /** Adds the route, or takes the place of the one to the same prefix with the same priority. */
  replace(route: NewRoute): void {
    this.#driver.change({ replaceRoute: route });
  }

  /** Adds a route behind one to the same prefix; with IPv6, a next hop to it. */
  append(route: NewRoute): void {
    this.#driver.change({ appendRoute: route });
  }

  /** Deletes the first route that has all that is given. Throws ESRCH. */
  delete(route: NewRoute): void {
    this.#driver.change({ deleteRoute: route });
  }
}

/** Routing policy rules: which table is asked for which packets. */
export class Rules {
  readonly #driver: RtnlDriver;

  constructor(driver: RtnlDriver) {
    this.#driver = driver;
  }

  /** The rules of one family, or of both. */
  list(family?: 4 | 6): Rule[] {
    return this.#driver.rules(family);
  }

  /** Throws EEXIST. */
  add(rule: NewRule): void {
    this.#driver.change({ addRule: rule });
  }

  /** Deletes the first rule that has all that is given. Throws ENOENT. */
  delete(rule: NewRule): void {
    this.#driver.change({ deleteRule: rule });
  }
}

/** ARP and neighbour discovery entries. */
export class Neighbours {
  readonly #driver: RtnlDriver;

  constructor(driver: RtnlDriver) {
    this.#driver = driver;
  }

  list(filter: NeighbourFilter = {}): Neighbour[] {
    return this.#driver.neighbours(filter);
  }

  /** Throws EEXIST. */
  add(neighbour: NewNeighbour): void {
    this.#driver.change({ addNeighbour: neighbour });
  }

  replace(neighbour: NewNeighbour): void {
    this.#driver.change({ replaceNeighbour: neighbour });
  }

  /** Throws ENOENT. */
  delete(neighbour: ChangeArguments["deleteNeighbour"]): void {
    this.#driver.change({ deleteNeighbour: neighbour });
  }
}

/** Forwarding entries of bridges and VXLAN links. */
export class Fdb {
  readonly #driver: RtnlDriver;

  constructor(driver: RtnlDriver) {
    this.#driver = driver;
  }

  list(filter: FdbFilter = {}): FdbEntry[] {
    return this.#driver.fdb(filter);
  }

  /** Throws EEXIST. */
  add(entry: NewFdbEntry): void {
    this.#driver.change({ addFdbEntry: entry });
  }

  /** Adds a further remote end to a VXLAN entry. */
  append(entry: NewFdbEntry): void {
    this.#driver.change({ appendFdbEntry: entry });
  }

  replace(entry: NewFdbEntry): void {
    this.#driver.change({ replaceFdbEntry: entry });
  }

  /** Throws ENOENT. */
  delete(entry: NewFdbEntry): void {
    this.#driver.change({ deleteFdbEntry: entry });
  }
}

/** Which VLANs the ports of VLAN-filtering bridges carry. */
export class BridgeVlans {
  readonly #driver: RtnlDriver;

  constructor(driver: RtnlDriver) {
    this.#driver = driver;
  }

  /** Of all ports and bridges, or of one. */
  list(link?: LinkRef): BridgeVlan[] {
    return this.#driver.bridgeVlans(link);
  }

  /** Throws EOPNOTSUPP where the link is neither a bridge nor a port of one. */
  add(vlan: NewBridgeVlan): void {
    this.#driver.change({ addBridgeVlan: vlan });
  }

  /** What is not there is no error. */
  delete(vlan: NewBridgeVlan): void {
    this.#driver.change({ deleteBridgeVlan: vlan });
  }
}

/** Traffic control: queueing disciplines, their classes, and the filters that sort packets into them. */
export class TrafficControl {
  readonly #driver: RtnlDriver;

  constructor(driver: RtnlDriver) {
    this.#driver = driver;
  }

  /** The qdiscs of one link, or of all. */
  qdiscs(link?: LinkRef): Qdisc[] {
    return this.#driver.qdiscs(link);
  }

  /** Throws EEXIST, ENOENT for a kind that the kernel lacks. */
  addQdisc(qdisc: NewQdisc): void {
    this.#driver.change({ addQdisc: qdisc });
  }

  replaceQdisc(qdisc: NewQdisc): void {
    this.#driver.change({ replaceQdisc: qdisc });
  }

  /** Throws ENOENT. */
  deleteQdisc(qdisc: NewQdisc): void {
    this.#driver.change({ deleteQdisc: qdisc });
  }

  classes(link: LinkRef): TcClass[] {
    return this.#driver.classes(link);
  }

  addClass(tcClass: NewTcClass): void {
    this.#driver.change({ addClass: tcClass });
  }

  replaceClass(tcClass: NewTcClass): void {
    this.#driver.change({ replaceClass: tcClass });
  }

  deleteClass(tcClass: NewTcClass): void {
    this.#driver.change({ deleteClass: tcClass });
  }

  /** The filters of a qdisc ("1:"), a class, or "ingress" or "egress" of a clsact qdisc. */
  filters(link: LinkRef, parent: string): Filter[] {
    return this.#driver.filters(link, parent);
  }

  addFilter(filter: NewFilter): void {
    this.#driver.change({ addFilter: filter });
  }

  replaceFilter(filter: NewFilter): void {
    this.#driver.change({ replaceFilter: filter });
  }

  /** Deletes one filter, or all that have the given priority, or all of the parent. */
  deleteFilter(filter: NewFilter): void {
    this.#driver.change({ deleteFilter: filter });
  }
}

/**
 * rtnetlink of one network namespace, with plain data in and out. All calls are synchronous and throw
 * {@link KernelError}. Nothing is opened before the first use; `close` closes it.
 */
export class Rtnl {
  readonly #driver: RtnlDriver;
  readonly links: Links;
  readonly addresses: Addresses;
  readonly routes: Routes;
  readonly rules: Rules;
  readonly neighbours: Neighbours;
  readonly fdb: Fdb;
  readonly bridgeVlans: BridgeVlans;
  readonly tc: TrafficControl;

  /** `driver` replaces the kernel, for the fake. */
  constructor(options: RtnlOptions = {}, driver: RtnlDriver = new NetlinkDriver(options)) {
    this.#driver = driver;
    this.links = new Links(driver);
    this.addresses = new Addresses(driver);
    this.routes = new Routes(driver);
    this.rules = new Rules(driver);
    this.neighbours = new Neighbours(driver);
    this.fdb = new Fdb(driver);
    this.bridgeVlans = new BridgeVlans(driver);
    this.tc = new TrafficControl(driver);
  }

  /**
   * Makes many changes with few system calls, in order. Each stands for itself: one that fails does not stop the
   * others. Returns the errors by the change's place in the list; an empty map is full success.
   */
  batch(changes: readonly Change[]): Map<number, KernelError> {
    return this.#driver.batch(changes);
  }

  /**
   * Follows what happens, from now on: `for await (const event of rtnl.monitor("routes"))`. Make the monitor before
   * listing, so that nothing falls between. It has a socket of its own, which `Monitor.close` closes.
   */
  monitor(...topics: MonitorTopic[]): Monitor {
    return this.#driver.monitor(topics);
  }

  /** Closes the socket. A later use opens another. */
  close(): void {
    this.#driver.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
