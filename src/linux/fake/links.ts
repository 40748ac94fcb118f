import { Writer } from "../netlink/codec.ts";
import { netnsPath } from "../netns.ts";
import type { LinkKind } from "../route/kinds.ts";
import type { Link, LinkRef, LinkSettings, NewLink, NewPeer } from "../route/link.ts";
import { nameLimit } from "../route/link.ts";
import { linkCameUp, linkWentAway, linkWentDown } from "./addresses.ts";
import type { FakeLink, FakeNamespace } from "./namespace.ts";
import { refuse } from "./refusal.ts";

type Kinds = Readonly<Record<string, LinkKind>>;

const ETHERNET = {
  type: 1,
  mtu: 1500,
  minMtu: 68,
  maxMtu: 65535,
  broadcast: "ff:ff:ff:ff:ff:ff",
  txQueueLength: 1000,
};

/** What the kernel fills in where the attributes of a kind are not given. */
const kindDefaults: Readonly<Record<string, Record<string, unknown>>> = {
  bridge: {
    ageingTime: 30_000,
    forwardDelay: 1500,
    helloTime: 200,
    maxAge: 2000,
    stpState: 0,
    priority: 32_768,
    vlanFiltering: false,
    vlanProtocol: "802.1Q",
    groupForwardMask: 0,
    multicastSnooping: true,
    multicastQuerier: false,
    vlanDefaultPvid: 1,
  },
  vlan: { protocol: "802.1Q", flags: ["reorderHeader"] },
  vxlan: { port: 8472, learning: true, ageing: 300 },
  macvlan: { mode: "vepa", flags: 0 },
  ipvlan: { mode: "l3", flags: "bridge" },
  tun: { type: "tap", persist: true, packetInformation: false, vnetHeader: false, multiQueue: false },
};

const portDefaults = {
  state: "disabled",
  priority: 32,
  cost: 2,
  hairpin: false,
  guard: false,
  rootBlock: false,
  fastLeave: false,
  learning: true,
  unicastFlood: true,
  multicastFlood: true,
  broadcastFlood: true,
  proxyArp: false,
  neighbourSuppress: false,
  isolated: false,
} as const;

/** Kinds that stand on another link. */
const stacked = new Set(["vlan", "macvlan", "macvtap", "ipvlan"]);
/** Kinds that can be a master. */
const masters = new Set(["bridge", "vrf", "bond"]);

function blank(namespace: FakeNamespace, name: string, kind?: string): Link {
  return {
    index: 0,
    name,
    altNames: [],
    ...(kind !== undefined && { kind }),
    ...ETHERNET,
    mac: namespace.machine.nextMac(),
    up: false,
    running: false,
    lowerUp: false,
    loopback: false,
    pointToPoint: false,
    promiscuous: false,
    allMulticast: false,
    multicast: true,
    arp: true,
    operState: "down",
    group: 0,
    promiscuity: 0,
    addrGenMode: "eui64",
  };
}

/** The loopback link with which a namespace begins. */
export function addLoopback(namespace: FakeNamespace): void {
  const { minMtu: _, maxMtu: __, ...own } = blank(namespace, "lo");
  const zero = "00:00:00:00:00:00";
  const more = { index: namespace.newIndex(1), type: 772, mtu: 65_536, loopback: true, multicast: false };
  namespace.links.push({ namespace, own: { ...own, ...more, mac: zero, broadcast: zero } });
}

/** The link as the kernel would list it. */
export function viewOf(link: FakeLink): Link {
  const view = { ...link.own };
  const below = link.peer ?? link.parent;
  if (below !== undefined) {
    view.parent = below.own.index;
    if (below.namespace !== link.namespace) view.parentNetnsId = 0;
  }
  if (link.master !== undefined) view.master = link.master.own.index;
  return view;
}

function tell(link: FakeLink, action: "new" | "delete" = "new"): void {
  link.namespace.emit({ object: "link", action, link: viewOf(link) });
}

function checkName(namespace: FakeNamespace, name: string, except?: FakeLink): void {
  if (new TextEncoder().encode(name).length > nameLimit)
    refuse("ERANGE", "Attribute failed policy validation");
  if (name === "" || name === "." || name === ".." || /[/:\s]/.test(name)) refuse("EINVAL");
  const holder = namespace.find(name);
  if (holder !== undefined && holder !== except) refuse("EEXIST");
}

function freeName(namespace: FakeNamespace, kind: string): string {
  for (let i = 0; ; i++) {
    if (namespace.find(`${kind}${i}`) === undefined) return `${kind}${i}`;
  }
}

/** Attributes of a kind as the kernel keeps them: written and read back by the kind's own codec. */
function normalized(kinds: Kinds, kind: string, data: unknown): Record<string, unknown> {
  const type = kinds[kind]?.data;
  if (type === undefined || data === undefined) return {};
  const writer = new Writer();
  type.write(writer, data);
  return type.read(writer.finish()) as Record<string, unknown>;
}

function applyKind(link: FakeLink, settings: LinkSettings, kinds: Kinds, fresh: boolean): void {
  const { kind } = link.own;
  if (kind === undefined || kinds[kind]?.data === undefined) return;
  const given = normalized(kinds, kind, (settings as Record<string, unknown>)[kind]);
  const record = link.own as unknown as Record<string, unknown>;
  record[kind] = { ...(fresh ? kindDefaults[kind] : (record[kind] as object)), ...given };
}

export function addLink(namespace: FakeNamespace, spec: NewLink, kinds: Kinds): void {
  if (kinds[spec.kind] === undefined) refuse("EOPNOTSUPP", "Unknown device type");
  const target = spec.netns === undefined ? namespace : namespace.machine.namespace(netnsPath(spec.netns));
  const name = spec.name ?? freeName(target, spec.kind);
  checkName(target, name);
  const parent = spec.parent === undefined ? undefined : namespace.get(spec.parent);
  if (stacked.has(spec.kind) && parent === undefined) refuse("EINVAL", "IFLA_LINK missing");
  const link: FakeLink = { namespace: target, own: blank(target, name, spec.kind) };
  if (parent !== undefined) {
    link.parent = parent;
    link.own.mtu = parent.own.mtu;
  }
  const { name: _, netns: __, ...settings } = spec;
  checkSettings(link, namespace, settings);
  if (spec.kind === "veth") addPeer(namespace, link, spec.peer ?? {});
  link.own.index = target.newIndex(spec.index);
  target.links.push(link);
  applyKind(link, spec, kinds, true);
  if (spec.kind === "bridge") addDefaultVlan(link, link);
  apply(link, namespace, settings);
  refresh(link);
  tell(link);
}

function addPeer(namespace: FakeNamespace, link: FakeLink, spec: NewPeer): void {
  const target = spec.netns === undefined ? namespace : namespace.machine.namespace(netnsPath(spec.netns));
  const name = spec.name ?? freeName(target, "veth");
  checkName(target, name);
  if (target === link.namespace && name === link.own.name) refuse("EEXIST");
  const peer: FakeLink = { namespace: target, own: blank(target, name, "veth"), peer: link };
  const { name: _, netns: __, index, ...settings } = spec;
  checkSettings(peer, namespace, settings);
  peer.own.index = target.newIndex(index);
  link.peer = peer;
  target.links.push(peer);
  apply(peer, namespace, settings);
  tell(peer);
}

/** Changes a link that is there. */
export function setLink(namespace: FakeNamespace, ref: LinkRef, spec: LinkSettings, kinds: Kinds): void {
  const link = namespace.get(ref);
  const { name, netns, ...settings } = spec;
  const target = netns === undefined ? namespace : namespace.machine.namespace(netnsPath(netns));
  if (name !== undefined || target !== namespace) checkName(target, name ?? link.own.name, link);
  checkSettings(link, namespace, settings);
  if (target !== namespace) move(link, target);
  if (name !== undefined) link.own.name = name;
  applyKind(link, settings, kinds, false);
  apply(link, target, settings);
  refresh(link);
  tell(link);
}

/** Refuses what the kernel would, before anything is changed. */
function checkSettings(link: FakeLink, namespace: FakeNamespace, settings: LinkSettings): void {
  const { mtu, mac, master } = settings;
  if (mtu !== undefined && (mtu < (link.own.minMtu ?? 0) || mtu > (link.own.maxMtu ?? 0xffffffff))) {
    refuse(
      "EINVAL",
      mtu < (link.own.minMtu ?? 0) ? "mtu less than device minimum" : "mtu greater than device maximum",
    );
  }
  if (mac !== undefined && (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1) refuse("EADDRNOTAVAIL");
  if (master === undefined || master === null) return;
  const upper = namespace.get(master);
  if (!masters.has(upper.own.kind ?? "")) refuse("EOPNOTSUPP");
  if (link.own.loopback) refuse("EINVAL");
  if (upper.own.kind === "bridge" && link.own.kind === "bridge") {
    refuse("ELOOP", "Can not enslave a bridge to a bridge");
  }
}

const plain = [
  "mtu",
  "mac",
  "broadcast",
  "group",
  "txQueueLength",
  "alias",
  "promiscuous",
  "allMulticast",
  "multicast",
  "arp",
  "gsoMaxSize",
  "gsoMaxSegs",
  "groMaxSize",
  "addrGenMode",
] as const;

function apply(link: FakeLink, namespace: FakeNamespace, settings: LinkSettings): void {
  for (const key of plain) {
    if (settings[key] !== undefined) Object.assign(link.own, { [key]: settings[key] });
  }
  if (settings.master === null) leaveMaster(link);
  else if (settings.master !== undefined) joinMaster(link, namespace.get(settings.master));
  if (settings.bridgePort !== undefined) {
    if (link.own.bridgePort === undefined) refuse("EINVAL");
    Object.assign(link.own.bridgePort, settings.bridgePort);
  }
  if (settings.up === undefined || settings.up === link.own.up) return;
  link.own.up = settings.up;
  refresh(link);
  if (settings.up) linkCameUp(link);
  else linkWentDown(link);
}

function joinMaster(link: FakeLink, master: FakeLink): void {
  if (link.master === master) return;
  leaveMaster(link);
  link.master = master;
  if (master.own.kind !== "bridge") return;
  link.own.bridgePort = { ...portDefaults };
  const { namespace, own } = link;
  const entry = { link: own.index, mac: own.mac ?? "", state: "permanent" as const, flags: [] };
  namespace.fdb.push({ ...entry, master: master.own.index });
  addDefaultVlan(link, master);
}

function addDefaultVlan({ namespace, own }: FakeLink, bridge: FakeLink): void {
  const pvid = bridge.own.bridge?.vlanDefaultPvid ?? 0;
  if (pvid > 0)
    namespace.vlans.push({ link: own.index, vid: pvid, vidEnd: pvid, pvid: true, untagged: true });
}

function leaveMaster(link: FakeLink): void {
  const { master, namespace } = link;
  if (master === undefined) return;
  delete link.master;
  delete link.own.bridgePort;
  const { index } = link.own;
  namespace.fdb = namespace.fdb.filter((entry) => entry.link !== index || entry.master !== master.own.index);
  namespace.vlans = namespace.vlans.filter((vlan) => vlan.link !== index);
  refresh(master);
}

function move(link: FakeLink, target: FakeNamespace): void {
  if (link.own.loopback) refuse("EINVAL", "The interface netns is immutable");
  if (link.own.up) {
    link.own.up = false;
    refresh(link);
    linkWentDown(link);
  }
  linkWentAway(link);
  leaveMaster(link);
  tell(link, "delete");
  const { namespace } = link;
  namespace.links.splice(namespace.links.indexOf(link), 1);
  link.namespace = target;
  link.own.index = target.newIndex(link.own.index);
  target.links.push(link);
}

/** Deletes a link, its other end, and what stands on it. */
export function deleteLink(namespace: FakeNamespace, ref: LinkRef): void {
  const link = namespace.get(ref);
  if (link.own.loopback || link.own.kind === undefined) refuse("EOPNOTSUPP");
  remove(link);
}

export function deleteGroup(namespace: FakeNamespace, group: number): void {
  const links = namespace.links.filter((link) => link.own.group === group && !link.own.loopback);
  if (links.length === 0) refuse("ENODEV");
  for (const link of links) remove(link);
}

function remove(link: FakeLink): void {
  const { namespace } = link;
  const place = namespace.links.indexOf(link);
  if (place < 0) return;
  for (const port of namespace.links.filter((one) => one.master === link)) {
    leaveMaster(port);
    tell(port);
  }
  link.own.up = false;
  linkWentDown(link);
  linkWentAway(link);
  leaveMaster(link);
  namespace.links.splice(namespace.links.indexOf(link), 1);
  tell(link, "delete");
  if (link.peer !== undefined) remove(link.peer);
  for (const above of link.namespace.links.filter((one) => one.parent === link)) remove(above);
}

export function addAltNames(namespace: FakeNamespace, ref: LinkRef, names: readonly string[]): void {
  const link = namespace.get(ref);
  for (const name of names) {
    if (namespace.find(name) !== undefined) refuse("EEXIST");
    link.own.altNames.push(name);
  }
  tell(link);
}

export function deleteAltNames(namespace: FakeNamespace, ref: LinkRef, names: readonly string[]): void {
  const link = namespace.get(ref);
  for (const name of names) {
    const place = link.own.altNames.indexOf(name);
    if (place < 0) refuse("ENOENT");
    link.own.altNames.splice(place, 1);
  }
  tell(link);
}

function hasCarrier(link: FakeLink): boolean {
  const { kind, up } = link.own;
  if (!up) return false;
  if (link.peer !== undefined) return link.peer.own.up;
  if (link.parent !== undefined) return link.parent.own.lowerUp;
  if (kind === "tun") return false;
  const ports = link.namespace.links.filter((port) => port.master === link);
  return kind !== "bridge" || ports.length === 0 || ports.some((port) => port.own.lowerUp);
}

function stateOf(link: FakeLink): string {
  const { up, lowerUp, kind } = link.own;
  if (!up) return "down";
  if (!lowerUp) return link.peer === undefined && link.parent === undefined ? "down" : "lowerlayerdown";
  const known =
    kind === "veth" || stacked.has(kind ?? "") || link.namespace.links.some((port) => port.master === link);
  return known ? "up" : "unknown";
}

/** Computes the carrier anew, here and wherever it depends on this link. */
function refresh(link: FakeLink, seen = new Set<FakeLink>()): void {
  if (seen.has(link)) return;
  seen.add(link);
  const before = link.own.lowerUp;
  link.own.lowerUp = hasCarrier(link);
  link.own.running = link.own.lowerUp;
  link.own.operState = stateOf(link);
  if (link.own.lowerUp !== before && seen.size > 1) tell(link);
  if (link.own.lowerUp && !before) linkCameUp(link);
  if (link.peer !== undefined) refresh(link.peer, seen);
  if (link.master !== undefined) refresh(link.master, seen);
  for (const above of link.namespace.links) if (above.parent === link) refresh(above, seen);
}
