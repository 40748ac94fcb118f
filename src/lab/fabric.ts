import type { Ip } from "../lib/ip.ts";
import { Prefix } from "../lib/prefix.ts";
import { type Kernel, openKernel } from "../linux/kernel.ts";
import { createNetns, deleteNetns } from "../linux/netns.ts";

/**
 * The wire between the nodes: a bridge in the lab's own namespace. Each host on it is a network namespace with one
 * link, eth0, and its default route over the bridge's address.
 *
 *     lab          fabric0 172.30.0.1, fd00:172:30::1      the API server, the default gateway
 *                   │
 *        ┌──────────┼──────────┬─────────┐
 *       eth0       eth0       eth0      eth0
 *     node-1     node-2     node-3    outside              .11, .12, .13, ... and .200
 */
export const fabric = {
  bridge: "fabric0",
  prefixes: [Prefix.parse("172.30.0.1/24"), Prefix.parse("fd00:172:30::1/64")],
  /** A host that is no part of the cluster: the world outside. */
  outside: { name: "outside", number: 200 },
  apiPort: 6443,
  nodeLink: "eth0",
} as const;

/** The address of the lab itself on the fabric, where the API server listens. */
export const apiAddress: Ip = (fabric.prefixes[0] as Prefix).ip;

/** The addresses of a host on the fabric, with their prefix lengths: IPv4, then IPv6. */
export function hostAddresses(number: number): Prefix[] {
  return fabric.prefixes.map((prefix) => {
    // As the numbers are read: host 11 is 172.30.0.11 and fd00:172:30::11.
    const offset = prefix.family === 4 ? number : Number.parseInt(String(number), 16);
    return new Prefix(prefix.masked().ip.add(offset), prefix.length);
  });
}

/** The number of node N on the fabric. */
export function nodeNumber(index: number): number {
  return 10 + index;
}

/** Makes the bridge in the calling namespace. */
export function createFabric(kernel: Kernel): void {
  const { rtnl, sysctl } = kernel;
  rtnl.links.set("lo", { up: true });
  sysctl.write("net.ipv4.ip_forward", 1);
  sysctl.write("net.ipv6.conf.all.forwarding", 1);
  // Without an address of its own a bridge takes that of a port, and changes it when the port goes: the hosts would
  // send to the old one until they ask again.
  rtnl.links.add({ kind: "bridge", name: fabric.bridge, mac: "02:77:65:66:74:01" });
  skipDad(kernel, fabric.bridge);
  rtnl.links.set(fabric.bridge, { up: true });
  for (const address of fabric.prefixes)
    rtnl.addresses.add({ link: fabric.bridge, address, flags: ["nodad"] });
}

/** Makes a host: its namespace, its link to the bridge, addresses and default routes. */
export function addHost(kernel: Kernel, name: string, number: number): void {
  createNetns(name);
  kernel.rtnl.links.add({
    kind: "veth",
    name: portName(number),
    master: fabric.bridge,
    up: true,
    peer: { name: fabric.nodeLink, netns: { name } },
  });
  const host = openKernel({ name });
  try {
    const { rtnl } = host;
    skipDad(host, fabric.nodeLink);
    for (const link of ["lo", fabric.nodeLink]) rtnl.links.set(link, { up: true });
    for (const address of hostAddresses(number)) {
      rtnl.addresses.add({ link: fabric.nodeLink, address, flags: ["nodad"] });
    }
    for (const gateway of fabric.prefixes) {
      rtnl.routes.add({ dst: Prefix.default(gateway.family), gateway: gateway.ip, oif: fabric.nodeLink });
    }
  } finally {
    host.close();
  }
}

/**
 * No duplicate address detection: while the link-local address is tentative (a second or two), a router cannot ask for
 * neighbours and drops what it should forward (RFC 4862 section 5.4). On a wire of our own nobody else has our addresses.
 */
function skipDad({ sysctl }: Kernel, link: string): void {
  sysctl.write(`net/ipv6/conf/${link}/accept_dad`, 0);
}

/** Takes a host away; its link goes with it. */
export function removeHost(kernel: Kernel, name: string, number: number): void {
  kernel.rtnl.links.delete(portName(number));
  deleteNetns(name);
}

function portName(number: number): string {
  return `fabric-${number}`;
}
