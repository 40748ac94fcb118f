import { Ip } from "../../lib/ip.ts";
import { parseMac } from "../../lib/mac.ts";
import { Prefix } from "../../lib/prefix.ts";
import type { Address } from "../route/address.ts";
import type { Route } from "../route/route.ts";
import type { FakeLink, FakeNamespace } from "./namespace.ts";
import { refuse } from "./refusal.ts";
import { forgetRoutes, insertRoute, removeRoute, sameRoute } from "./routes.ts";

const sameAddress = (a: Address, b: Address) =>
  a.link === b.link &&
  a.address.ip.equals(b.address.ip) &&
  (a.address.family === 6 || (a.address.length === b.address.length && samePeer(a, b)));

const samePeer = (a: Address, b: Address) => (a.peer ?? a.address.ip).equals(b.peer ?? b.address.ip);

/** Addresses whose prefix is the same: only the first is primary (IPv4). */
const samePrefix = (a: Address, b: Address) =>
  a.link === b.link && a.address.length === b.address.length && a.address.masked().equals(b.address.masked());

/** `given` is the address as it was read back from the request. */
export function addAddress(namespace: FakeNamespace, given: Address, replace: boolean): void {
  const link = namespace.get(given.link);
  if (given.address.family === 6 && given.address.ip.isMulticast())
    refuse("EADDRNOTAVAIL", "Cannot assign multicast");
  const held = namespace.addresses.find((one) => sameAddress(one, given));
  if (held !== undefined && !replace) refuse("EEXIST");
  const address: Address = { ...given, flags: [...given.flags] };
  if (address.validLifetime === Number.POSITIVE_INFINITY && !address.flags.includes("permanent")) {
    address.flags.push("permanent");
  }
  if (address.address.family === 4) {
    // IPv4 has no duplicate address detection, and keeps no flag of it.
    address.flags = address.flags.filter((flag) => flag !== "nodad");
    address.label ??= link.own.name;
    const first = namespace.addresses.find((one) => samePrefix(one, address) && !sameAddress(one, address));
    if (first !== undefined) address.flags.push("secondary");
  }
  address.flags.sort((a, b) => flagOrder.indexOf(a) - flagOrder.indexOf(b));
  if (held !== undefined) namespace.addresses[namespace.addresses.indexOf(held)] = address;
  else namespace.addresses.push(address);
  namespace.emit({ object: "address", action: "new", address });
  for (const route of routesOf(link, address)) insertRoute(namespace, route);
}

/** By rising bit, as flags are listed. */
const flagOrder: readonly string[] = [
  "secondary",
  "nodad",
  "deprecated",
  "tentative",
  "permanent",
  "noprefixroute",
];

export function deleteAddress(namespace: FakeNamespace, given: Address): void {
  const link = namespace.get(given.link);
  const held = namespace.addresses.find((one) => sameAddress(one, given));
  if (held === undefined || held.address.length !== given.address.length) refuse("EADDRNOTAVAIL");
  drop(link, held);
  // promote_secondaries is off: the others of the prefix go with the first.
  if (held.address.family === 4 && !held.flags.includes("secondary")) {
    for (const one of namespace.addresses.filter((other) => samePrefix(other, held))) drop(link, one);
  }
}

function drop(link: FakeLink, address: Address): void {
  const { namespace } = link;
  namespace.addresses.splice(namespace.addresses.indexOf(address), 1);
  for (const route of routesOf(link, address)) {
    const needed = namespace.addresses.some(
      (one) => one.link === address.link && routesOf(link, one).some((other) => sameRoute(other, route)),
    );
    if (!needed) removeRoute(namespace, (one) => sameRoute(one, route));
  }
  const { ip } = address.address;
  if (!namespace.addresses.some((one) => one.address.ip.equals(ip))) {
    removeRoute(namespace, (route) => route.src?.equals(ip) === true);
  }
  namespace.emit({ object: "address", action: "delete", address });
}

/** The routes that come with an address, as far as the link's state lets them. */
function routesOf(link: FakeLink, address: Address): Route[] {
  const { address: own, peer, flags } = address;
  const common = { protocol: "kernel" as const, oif: link.own.index, flags: [] };
  const prefix = peer === undefined ? own.masked() : new Prefix(peer, own.length).masked();
  if (own.family === 6) {
    if (!link.own.up) return [];
    const more = { ...common, scope: "global" as const, preference: "medium" as const };
    const local: Route = { ...more, type: "local", dst: Prefix.host(own.ip), table: 255, priority: 0 };
    if (flags.includes("noprefixroute") || link.own.loopback) return [local];
    return [local, { ...more, type: "unicast", dst: prefix, table: 254, priority: address.metric ?? 256 }];
  }
  // Packets to a secondary address are answered from the first of its prefix.
  const first = link.namespace.addresses.find((one) => samePrefix(one, address));
  const src = (flags.includes("secondary") && first?.address.ip) || own.ip;
  const routes: Route[] = [
    { ...common, type: "local", dst: Prefix.host(own.ip), table: 255, scope: "host", src },
  ];
  if (!link.own.up) return routes;
  const broadcast = (ip: Ip): Route => ({
    ...common,
    type: "broadcast",
    dst: Prefix.host(ip),
    table: 255,
    scope: "link",
    src,
  });
  if (
    !flags.includes("secondary") &&
    !flags.includes("noprefixroute") &&
    (peer !== undefined || own.length < 32)
  ) {
    const kind = link.own.loopback
      ? ({ type: "local", table: 255, scope: "host" } as const)
      : ({ type: "unicast", table: 254, scope: "link" } as const);
    routes.push({
      ...common,
      ...kind,
      dst: prefix,
      src,
      ...(address.metric !== undefined && { priority: address.metric }),
    });
  }
  if (!flags.includes("secondary") && own.length < 31) {
    const last = Ip.fromBigInt(own.last, 4);
    routes.push(broadcast(last));
    if (address.broadcast !== undefined && !address.broadcast.equals(last))
      routes.push(broadcast(address.broadcast));
  }
  return routes;
}

/** What the kernel does when a link comes up or gets its carrier. */
export function linkCameUp(link: FakeLink): void {
  const { namespace, own } = link;
  if (!own.up) return;
  for (const address of namespace.addresses.filter((one) => one.link === own.index)) {
    for (const route of routesOf(link, address)) insertRoute(namespace, route);
  }
  if (own.loopback) {
    for (const [text, family] of [
      ["127.0.0.1/8", 4],
      ["::1/128", 6],
    ] as const) {
      if (!namespace.addresses.some((one) => one.link === own.index && one.address.family === family)) {
        addAddress(namespace, automatic(link, Prefix.parse(text), "host"), true);
      }
    }
  } else if (own.lowerUp && own.addrGenMode === "eui64" && own.mac !== undefined && !isPort(link)) {
    addAddress(namespace, { ...automatic(link, linkLocal(own.mac), "link"), protocol: 3 }, true);
  }
}

// The kernel gives a bridge's ports link-local addresses too; tests that look at addresses are clearer without.
const isPort = (link: FakeLink) => link.master?.own.kind === "bridge";

function automatic(link: FakeLink, address: Prefix, scope: "host" | "link"): Address {
  const lifetime = Number.POSITIVE_INFINITY;
  return {
    link: link.own.index,
    address,
    scope,
    flags: [],
    validLifetime: lifetime,
    preferredLifetime: lifetime,
  };
}

/** fe80:: and the EUI-64 of the MAC address (RFC 4291 appendix A). */
function linkLocal(mac: string): Prefix {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = parseMac(mac);
  const bytes = Uint8Array.from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
  return new Prefix(Ip.fromBytes(bytes), 64);
}

/** IPv4 addresses stay on a link that is down, their local routes too; all else of both families goes. */
export function linkWentDown(link: FakeLink): void {
  const { namespace, own } = link;
  for (const address of namespace.addresses.filter(
    (one) => one.link === own.index && one.address.family === 6,
  )) {
    drop(link, address);
  }
  forgetRoutes(namespace, own.index, (route) => !(route.dst.family === 4 && route.type === "local"));
}

/** Takes everything away that belongs to a link which leaves its namespace. */
export function linkWentAway(link: FakeLink): void {
  const { namespace, own } = link;
  for (const address of namespace.addresses.filter((one) => one.link === own.index)) drop(link, address);
  forgetRoutes(namespace, own.index, () => true);
  const others = <T extends { link: number }>(list: T[]) => list.filter((one) => one.link !== own.index);
  namespace.neighbours = others(namespace.neighbours);
  namespace.fdb = others(namespace.fdb).filter((entry) => entry.master !== own.index);
  namespace.vlans = others(namespace.vlans);
  namespace.qdiscs = others(namespace.qdiscs);
  namespace.classes = others(namespace.classes);
  namespace.filters = others(namespace.filters);
  for (const key of namespace.sysctls.keys()) {
    if (key.startsWith("net/") && key.split("/")[3] === own.name && key.split("/")[2] === "conf") {
      namespace.sysctls.delete(key);
    }
  }
}
