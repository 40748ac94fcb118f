import type { Ip } from "../../lib/ip.ts";
import { isNotFound, KernelError } from "../errors.ts";
import * as ffi from "../ffi.ts";
import type { Writer } from "../netlink/codec.ts";
import { type Message, NETLINK_ROUTE, NetlinkSocket, type Request } from "../netlink/socket.ts";
import { type NetnsRef, netnsPath } from "../netns.ts";
import { openTun } from "../tun.ts";
import * as address from "./address.ts";
import { type Change, changesNames, requestsOf } from "./changes.ts";
import type { AddressFilter, FdbFilter, LinkFilter, NeighbourFilter, RtnlDriver } from "./driver.ts";
import { type LinkKind, linkKinds } from "./kinds.ts";
import type * as link from "./link.ts";
import * as linkMessages from "./link-messages.ts";
import { type Monitor, type MonitorTopic, RtnlMonitor } from "./monitor.ts";
import * as neighbour from "./neighbour.ts";
import type { Resolver } from "./resolver.ts";
import type * as route from "./route.ts";
import * as routeMessages from "./route-messages.ts";
import * as rule from "./rule.ts";
import * as tc from "./tc.ts";
import { parseHandle } from "./tc-handle.ts";
import * as vlan from "./vlan.ts";

const O_RDONLY = 0;

export interface RtnlOptions {
  /** The namespace to work in; the caller's own where not given. */
  netns?: NetnsRef | undefined;
  /** Kinds of links besides {@link linkKinds}. */
  kinds?: Readonly<Record<string, LinkKind>>;
}

/** The kernel's rtnetlink. The socket is opened at the first use. */
export class NetlinkDriver implements RtnlDriver {
  readonly #options: RtnlOptions;
  readonly #kinds: Readonly<Record<string, LinkKind>>;
  readonly #resolver: Resolver;
  #descriptors: number[] = [];
  #socket: NetlinkSocket | undefined;

  constructor(options: RtnlOptions = {}) {
    this.#options = options;
    this.#kinds = options.kinds === undefined ? linkKinds : { ...linkKinds, ...options.kinds };
    this.#resolver = {
      kinds: this.#kinds,
      index: (ref) => this.#index(ref),
      netnsFd: (ref) => {
        const fd = ffi.open(netnsPath(ref), O_RDONLY);
        this.#descriptors.push(fd);
        return fd;
      },
    };
  }

  get #netlink(): NetlinkSocket {
    this.#socket ??= new NetlinkSocket(NETLINK_ROUTE, { netns: this.#options.netns });
    return this.#socket;
  }

  /** Runs `action`, then closes the descriptors that requests opened. */
  #closing<T>(action: () => T): T {
    try {
      return action();
    } finally {
      for (const fd of this.#descriptors.splice(0)) ffi.close(fd);
    }
  }

  change(change: Change): void {
    this.#closing(() => {
      if (isTun(change)) this.#addTun(change.addLink);
      else for (const request of requestsOf(change, this.#resolver)) this.#netlink.execute(request);
    });
  }

  batch(changes: readonly Change[]): Map<number, KernelError> {
    const batch = new Batch(this.#netlink, this.#resolver, (change) => this.change(change));
    return this.#closing(() => batch.run(changes));
  }

  /** tun and tap links are made through their device node, not by rtnetlink. */
  #addTun({ kind: _, tun = {}, index: __, peer: ___, parent: ____, ...spec }: link.NewLink): void {
    const { type, persist: _____, ...options } = tun;
    const { fd, name } = openTun({
      mode: type === "tun" ? "tun" : "tap",
      persist: true,
      netns: this.#options.netns,
      ...(spec.name !== undefined && { name: spec.name }),
      ...options,
    });
    ffi.close(fd);
    const { name: ______, ...settings } = spec;
    if (Object.keys(settings).length === 0) return;
    try {
      this.change({ setLink: { link: name, ...settings } });
    } catch (error) {
      this.change({ deleteLink: { link: name } });
      throw error;
    }
  }

  #index(ref: link.LinkRef): number {
    return typeof ref === "number" ? ref : this.link(ref, false).index;
  }

  #readLink(message: Message, statistics: boolean): link.Link {
    const found = linkMessages.readLink(message.payload, this.#kinds);
    const counters = statistics ? linkMessages.readStatistics(message.payload) : undefined;
    if (counters !== undefined) found.statistics = counters;
    return found;
  }

  link(ref: link.LinkRef, statistics: boolean): link.Link {
    const message = this.#netlink.get({
      operation: "read link",
      subject: String(ref),
      type: linkMessages.RTM_GETLINK,
      write: linkMessages.keyBody(ref),
    });
    return this.#readLink(message, statistics);
  }

  links(filter: LinkFilter): link.Link[] {
    const { master, kind, statistics = false } = filter;
    const body = linkMessages.dumpBody({
      ...(kind !== undefined && { kind }),
      ...(master !== undefined && { master: this.#index(master) }),
    });
    return this.#dump("links", linkMessages.RTM_GETLINK, linkMessages.RTM_NEWLINK, body).map((message) =>
      this.#readLink(message, statistics),
    );
  }

  addresses(filter: AddressFilter): address.Address[] {
    const index = filter.link === undefined ? 0 : this.#index(filter.link);
    return this.#dump("addresses", address.RTM_GETADDR, address.RTM_NEWADDR, (writer) =>
      address.writeAddressDump(writer, familyNumber(filter.family), index),
    ).map((message) => address.readAddress(message.payload));
  }

  routes(filter: route.RouteFilter): route.Route[] {
    const oif = filter.oif === undefined ? undefined : this.#index(filter.oif);
    const dst = filter.dst === undefined ? undefined : address.toPrefix(filter.dst, "dst");
    const family = filter.family ?? dst?.family;
    const routes: route.Route[] = [];
    for (const one of family === undefined ? ([4, 6] as const) : [family]) {
      try {
        const messages = this.#dump(
          "routes",
          routeMessages.RTM_GETROUTE,
          routeMessages.RTM_NEWROUTE,
          (writer) => routeMessages.writeRouteDump(writer, one, filter, oif),
        );
        for (const message of messages) routes.push(routeMessages.readRoute(message.payload));
      } catch (error) {
        // A table that never held a route does not exist.
        if (!isNotFound(error)) throw error;
      }
    }
    return dst === undefined ? routes : routes.filter((found) => found.dst.equals(dst));
  }

  lookup(dst: Ip, options: route.LookupOptions): route.Route {
    const message = this.#netlink.get({
      operation: "look up the route to",
      subject: String(dst),
      type: routeMessages.RTM_GETROUTE,
      write: routeMessages.lookupBody(dst, options, this.#resolver),
    });
    return routeMessages.readRoute(message.payload);
  }

  rules(family?: 4 | 6): rule.Rule[] {
    return (family === undefined ? ([4, 6] as const) : [family]).flatMap((one) =>
      this.#dump("rules", rule.RTM_GETRULE, rule.RTM_NEWRULE, (writer) =>
        rule.writeRuleDump(writer, one),
      ).map((message) => rule.readRule(message.payload)),
    );
  }

  neighbours(filter: NeighbourFilter): neighbour.Neighbour[] {
    const index = filter.link === undefined ? undefined : this.#index(filter.link);
    return this.#dump("neighbours", neighbour.RTM_GETNEIGH, neighbour.RTM_NEWNEIGH, (writer) =>
      neighbour.writeNeighbourDump(writer, familyNumber(filter.family), {
        ...(index !== undefined && { index }),
        ...(filter.proxy && { proxy: true }),
      }),
    )
      .filter(({ payload }) => neighbour.neighbourFamily(payload) !== neighbour.AF_BRIDGE)
      .map((message) => neighbour.readNeighbour(message.payload));
  }

  fdb(filter: FdbFilter): neighbour.FdbEntry[] {
    const index = filter.link === undefined ? undefined : this.#index(filter.link);
    const master = filter.master === undefined ? undefined : this.#index(filter.master);
    return this.#dump("forwarding entries", neighbour.RTM_GETNEIGH, neighbour.RTM_NEWNEIGH, (writer) =>
      neighbour.writeNeighbourDump(writer, neighbour.AF_BRIDGE, {
        ...(index !== undefined && { index }),
        ...(master !== undefined && { master }),
      }),
    ).map((message) => neighbour.readFdbEntry(message.payload));
  }

  bridgeVlans(ref?: link.LinkRef): vlan.BridgeVlan[] {
    const index = ref === undefined ? undefined : this.#index(ref);
    const vlans = this.#dump("bridge VLANs", linkMessages.RTM_GETLINK, linkMessages.RTM_NEWLINK, (writer) =>
      vlan.writeBridgeVlanDump(writer),
    ).flatMap((message) => vlan.readBridgeVlans(message.payload));
    return index === undefined ? vlans : vlans.filter((found) => found.link === index);
  }

  qdiscs(ref?: link.LinkRef): tc.Qdisc[] {
    const index = ref === undefined ? 0 : this.#index(ref);
    const qdiscs = this.#dump("qdiscs", tc.RTM_GETQDISC, tc.RTM_NEWQDISC, tc.tcDumpBody(index)).map(
      (message) => tc.readQdisc(message.payload),
    );
    // The kernel lists the qdiscs of all links, whatever is asked.
    return index === 0 ? qdiscs : qdiscs.filter((qdisc) => qdisc.link === index);
  }

  classes(ref: link.LinkRef): tc.TcClass[] {
    const body = tc.tcDumpBody(this.#index(ref));
    return this.#dump("classes", tc.RTM_GETTCLASS, tc.RTM_NEWTCLASS, body).map((message) =>
      tc.readClass(message.payload),
    );
  }

  filters(ref: link.LinkRef, parent: string): tc.Filter[] {
    const body = tc.tcDumpBody(this.#index(ref), parseHandle(parent));
    return this.#dump("filters", tc.RTM_GETTFILTER, tc.RTM_NEWTFILTER, body)
      .map((message) => tc.readFilter(message.payload))
      .filter((filter) => !tc.isHashTable(filter));
  }

  #dump(subject: string, type: number, answer: number, write: (writer: Writer) => void): Message[] {
    const messages = this.#netlink.dump({ operation: "list", subject, type, write });
    return messages.filter((message) => message.type === answer);
  }

  monitor(topics: readonly MonitorTopic[]): Monitor {
    return new RtnlMonitor(topics, this.#kinds, this.#options.netns);
  }

  close(): void {
    this.#socket?.close();
    this.#socket = undefined;
  }
}

const isTun = (change: Change): change is { addLink: link.NewLink } =>
  "addLink" in change && change.addLink.kind === "tun";

const familyNumber = (family: 4 | 6 | undefined) =>
  family === undefined ? 0 : family === 4 ? address.AF_INET : address.AF_INET6;

/**
 * Many changes in few sends. A name is looked up once; before a lookup, everything that could have made the link is
 * sent first.
 */
class Batch {
  readonly #socket: NetlinkSocket;
  readonly #resolver: Resolver;
  readonly #alone: (change: Change) => void;
  readonly #indexes = new Map<string, number>();
  readonly #errors = new Map<number, KernelError>();
  #pending: { request: Request; place: number }[] = [];
  #namesPending = false;

  constructor(socket: NetlinkSocket, resolver: Resolver, alone: (change: Change) => void) {
    this.#socket = socket;
    this.#alone = alone;
    this.#resolver = { ...resolver, index: (ref) => this.#index(resolver, ref) };
  }

  run(changes: readonly Change[]): Map<number, KernelError> {
    for (const [place, change] of changes.entries()) {
      this.#add(place, change);
      if (changesNames(change)) {
        this.#namesPending = true;
        this.#indexes.clear();
      }
    }
    this.#flush();
    return this.#errors;
  }

  /** Prepares one change and adds it to what is to be sent. */
  #add(place: number, change: Change): void {
    try {
      const requests = isTun(change) ? [] : requestsOf(change, this.#resolver);
      const [request] = requests;
      if (request !== undefined && requests.length === 1) {
        this.#pending.push({ request, place });
        return;
      }
      // Made of several steps, of which each depends on the one before.
      this.#flush();
      this.#alone(change);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      this.#errors.set(place, error);
    }
  }

  #index(resolver: Resolver, ref: link.LinkRef): number {
    if (typeof ref === "number") return ref;
    const known = this.#indexes.get(ref);
    if (known !== undefined) return known;
    if (this.#namesPending) this.#flush();
    const index = resolver.index(ref);
    this.#indexes.set(ref, index);
    return index;
  }

  #flush(): void {
    const pending = this.#pending.splice(0);
    this.#namesPending = false;
    if (pending.length === 0) return;
    const errors = this.#socket.batch(pending.map(({ request }) => request));
    for (const [i, error] of errors) this.#errors.set(pending[i]?.place as number, error);
  }
}
