import type { Ip } from "../../lib/ip.ts";
import { errno } from "../errno.ts";
import { KernelError } from "../errors.ts";
import { Writer } from "../netlink/codec.ts";
import type { Request } from "../netlink/socket.ts";
import { netnsPath } from "../netns.ts";
import { type Address, readAddress, toPrefix } from "../route/address.ts";
import { type Change, type ChangeArguments, requestsOf } from "../route/changes.ts";
import type { AddressFilter, FdbFilter, LinkFilter, NeighbourFilter, RtnlDriver } from "../route/driver.ts";
import { type LinkKind, linkKinds } from "../route/kinds.ts";
import type { Link, LinkRef } from "../route/link.ts";
import type { Monitor, MonitorTopic } from "../route/monitor.ts";
import { type FdbEntry, type Neighbour, readFdbEntry, readNeighbour } from "../route/neighbour.ts";
import type { Resolver } from "../route/resolver.ts";
import {
  type LookupOptions,
  type Route,
  type RouteFilter,
  routeProtocol,
  routeTypes,
} from "../route/route.ts";
import { readRoute } from "../route/route-messages.ts";
import { type Rule, readRule } from "../route/rule.ts";
import { type Filter, type Qdisc, readClass, readFilter, readQdisc, type TcClass } from "../route/tc.ts";
import { formatHandle, parseHandle } from "../route/tc-handle.ts";
import type { BridgeVlan } from "../route/vlan.ts";
import * as addresses from "./addresses.ts";
import * as links from "./links.ts";
import { FakeMonitor } from "./monitor.ts";
import type { FakeNamespace } from "./namespace.ts";
import { Refusal } from "./refusal.ts";
import * as routes from "./routes.ts";
import * as tables from "./tables.ts";

type Does = { [K in keyof ChangeArguments]: (spec: ChangeArguments[K], payload: Uint8Array) => void };

/**
 * rtnetlink of a fake namespace. A change is written as for the kernel and read back, so that the fake sees what the
 * kernel would: the defaults are filled in, and what cannot be said is refused in the same words.
 */
export class FakeRtnlDriver implements RtnlDriver {
  readonly #namespace: FakeNamespace;
  readonly #kinds: Readonly<Record<string, LinkKind>>;
  readonly #resolver: Resolver;
  readonly #does: Does;

  constructor(namespace: FakeNamespace, kinds: Readonly<Record<string, LinkKind>> = {}) {
    this.#namespace = namespace;
    this.#kinds = { ...linkKinds, ...kinds };
    this.#resolver = {
      kinds: this.#kinds,
      index: (ref) => this.#index(ref),
      netnsFd: (ref) => {
        namespace.machine.namespace(netnsPath(ref));
        return 0;
      },
    };
    this.#does = changesOf(namespace, this.#kinds);
  }

  change(change: Change): void {
    const requests = requestsOf(change, this.#resolver);
    const payload = encode(requests);
    const [[name, spec]] = Object.entries(change) as [[keyof Does, never]];
    this.#asking(requests[0], () => this.#does[name](spec, payload));
  }

  batch(changes: readonly Change[]): Map<number, KernelError> {
    const errors = new Map<number, KernelError>();
    for (const [place, change] of changes.entries()) {
      try {
        this.change(change);
      } catch (error) {
        if (!(error instanceof KernelError)) throw error;
        errors.set(place, error);
      }
    }
    return errors;
  }

  #asking<T>(request: Pick<Request, "operation" | "subject"> | undefined, action: () => T): T {
    try {
      return action();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const { operation = "change", subject = "" } = request ?? {};
      throw new KernelError(operation, subject, errno[error.errnoName], { extack: error.extack });
    }
  }

  #index(ref: LinkRef): number {
    return typeof ref === "number" ? ref : this.link(ref).index;
  }

  link(ref: LinkRef): Link {
    const request = { operation: "read link", subject: String(ref) };
    return structuredClone(this.#asking(request, () => links.viewOf(this.#namespace.get(ref))));
  }

  links({ kind, master }: LinkFilter): Link[] {
    const upper = master === undefined ? undefined : this.#index(master);
    return this.#namespace.links
      .map((link) => structuredClone(links.viewOf(link)))
      .filter(
        (link) =>
          (kind === undefined || link.kind === kind) && (upper === undefined || link.master === upper),
      )
      .sort((a, b) => a.index - b.index);
  }

  addresses({ link, family }: AddressFilter): Address[] {
    const index = link === undefined ? undefined : this.#index(link);
    return this.#namespace.addresses
      .filter((one) => (index === undefined || one.link === index) && isFamily(one.address, family))
      .map((one) => ({ ...one, flags: [...one.flags] }))
      .sort((a, b) => a.address.family - b.address.family || a.link - b.link);
  }

  routes(filter: RouteFilter): Route[] {
    const { table = 254 } = filter;
    const oif = filter.oif === undefined ? undefined : this.#index(filter.oif);
    const dst = filter.dst === undefined ? undefined : toPrefix(filter.dst, "dst");
    const protocol = filter.protocol === undefined ? undefined : routeProtocol.number(filter.protocol);
    const type = filter.type === undefined ? undefined : routeTypes.number(filter.type);
    return this.#namespace.routes
      .filter(
        (route) =>
          isFamily(route.dst, filter.family) &&
          (table === "all" || route.table === table) &&
          (oif === undefined ||
            route.oif === oif ||
            route.nextHops?.some((hop) => hop.oif === oif) === true) &&
          (dst === undefined || route.dst.equals(dst)) &&
          (protocol === undefined || routeProtocol.number(route.protocol) === protocol) &&
          (type === undefined || routeTypes.number(route.type) === type),
      )
      .map((route) => ({ ...route, flags: [...route.flags] }));
  }

  lookup(dst: Ip, options: LookupOptions): Route {
    const request = { operation: "look up the route to", subject: String(dst) };
    return this.#asking(request, () => routes.lookup(this.#namespace, dst, options));
  }

  rules(family?: 4 | 6): Rule[] {
    return this.#namespace.rules
      .filter((rule) => family === undefined || rule.family === family)
      .map((rule) => ({ ...rule }));
  }

  neighbours({ link, family, proxy = false }: NeighbourFilter): Neighbour[] {
    const index = link === undefined ? undefined : this.#index(link);
    return this.#namespace.neighbours.filter(
      (one) =>
        (index === undefined || one.link === index) &&
        isFamily(one.ip, family) &&
        one.flags.includes("proxy") === proxy,
    );
  }

  fdb({ link, master }: FdbFilter): FdbEntry[] {
    const index = link === undefined ? undefined : this.#index(link);
    const bridge = master === undefined ? undefined : this.#index(master);
    return this.#namespace.fdb.filter(
      (one) =>
        (index === undefined || one.link === index) &&
        (bridge === undefined || one.master === bridge || one.link === bridge),
    );
  }

  bridgeVlans(ref?: LinkRef): BridgeVlan[] {
    const index = ref === undefined ? undefined : this.#index(ref);
    return this.#namespace.vlans
      .filter((one) => index === undefined || one.link === index)
      .map((one) => ({ ...one }));
  }

  qdiscs(ref?: LinkRef): Qdisc[] {
    const index = ref === undefined ? undefined : this.#index(ref);
    return this.#namespace.qdiscs.filter((one) => index === undefined || one.link === index);
  }

  classes(ref: LinkRef): TcClass[] {
    const index = this.#index(ref);
    return this.#namespace.classes.filter((one) => one.link === index);
  }

  filters(ref: LinkRef, parent: string): Filter[] {
    const index = this.#index(ref);
    const above = formatHandle(parseHandle(parent));
    return this.#namespace.filters
      .filter((one) => one.link === index && one.parent === above)
      .sort((a, b) => a.priority - b.priority);
  }

  monitor(topics: readonly MonitorTopic[]): Monitor {
    const { monitors } = this.#namespace;
    const monitor = new FakeMonitor(topics, (one) => monitors.delete(one));
    monitors.add(monitor);
    return monitor;
  }

  close(): void {}
}

const isFamily = (value: { family: 4 | 6 }, family: 4 | 6 | undefined) =>
  family === undefined || value.family === family;

/** The body of the first request; all are written, so that what cannot be written is refused. */
function encode(requests: readonly Request[]): Uint8Array {
  const bodies = requests.map((request) => {
    const writer = new Writer();
    request.write(writer);
    return writer.finish();
  });
  return bodies[0] ?? new Uint8Array();
}

function changesOf(namespace: FakeNamespace, kinds: Readonly<Record<string, LinkKind>>): Does {
  return {
    addLink: (spec) => links.addLink(namespace, spec, kinds),
    setLink: ({ link, ...settings }) => links.setLink(namespace, link, settings, kinds),
    deleteLink: (spec) =>
      "group" in spec ? links.deleteGroup(namespace, spec.group) : links.deleteLink(namespace, spec.link),
    addAltNames: ({ link, names }) => links.addAltNames(namespace, link, names),
    deleteAltNames: ({ link, names }) => links.deleteAltNames(namespace, link, names),
    addAddress: (_, payload) => addresses.addAddress(namespace, readAddress(payload), false),
    replaceAddress: (_, payload) => addresses.addAddress(namespace, readAddress(payload), true),
    deleteAddress: (_, payload) => addresses.deleteAddress(namespace, readAddress(payload)),
    addRoute: (_, payload) => routes.addRoute(namespace, readRoute(payload), "add"),
    replaceRoute: (_, payload) => routes.addRoute(namespace, readRoute(payload), "replace"),
    appendRoute: (_, payload) => routes.addRoute(namespace, readRoute(payload), "append"),
    deleteRoute: (_, payload) => routes.deleteRoute(namespace, readRoute(payload)),
    addRule: (spec, payload) => tables.addRule(namespace, readRule(payload), spec.priority),
    deleteRule: (spec, payload) => tables.deleteRule(namespace, readRule(payload), spec.priority),
    addNeighbour: (_, payload) => tables.addNeighbour(namespace, readNeighbour(payload), "add"),
    replaceNeighbour: (_, payload) => tables.addNeighbour(namespace, readNeighbour(payload), "replace"),
    deleteNeighbour: (_, payload) => tables.deleteNeighbour(namespace, readNeighbour(payload)),
    addFdbEntry: (_, payload) => tables.addFdbEntry(namespace, readFdbEntry(payload), "add"),
    appendFdbEntry: (_, payload) => tables.addFdbEntry(namespace, readFdbEntry(payload), "append"),
    replaceFdbEntry: (_, payload) => tables.addFdbEntry(namespace, readFdbEntry(payload), "replace"),
    deleteFdbEntry: (_, payload) => tables.deleteFdbEntry(namespace, readFdbEntry(payload)),
    addBridgeVlan: (spec) => tables.addBridgeVlan(namespace, spec),
    deleteBridgeVlan: (spec) => tables.deleteBridgeVlan(namespace, spec),
    addQdisc: (_, payload) => tables.addQdisc(namespace, readQdisc(payload), "add"),
    replaceQdisc: (_, payload) => tables.addQdisc(namespace, readQdisc(payload), "replace"),
    deleteQdisc: (_, payload) => tables.deleteQdisc(namespace, readQdisc(payload)),
    addClass: (_, payload) => tables.addClass(namespace, readClass(payload), "add"),
    replaceClass: (_, payload) => tables.addClass(namespace, readClass(payload), "replace"),
    deleteClass: (_, payload) => tables.deleteClass(namespace, readClass(payload)),
    addFilter: (_, payload) => tables.addFilter(namespace, readFilter(payload)),
    replaceFilter: (_, payload) => tables.addFilter(namespace, readFilter(payload)),
    deleteFilter: (spec, payload) => tables.deleteFilter(namespace, readFilter(payload), spec),
  };
}
