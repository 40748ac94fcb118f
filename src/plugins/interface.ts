import type { Result, ResultRoute } from "../cni/result.ts";
import { Ip } from "../lib/ip.ts";
import type { Prefix } from "../lib/prefix.ts";
import { isExists, isNotFound, KernelError } from "../linux/errors.ts";
import { inNetns } from "../linux/netns.ts";
import type { NewAddress } from "../linux/route/address.ts";
import type { Change } from "../linux/route/changes.ts";
import type { NewRoute } from "../linux/route/route.ts";
import type { Rtnl } from "../linux/route/rtnl.ts";
import { ProcSysctl } from "../linux/sysctl.ts";
import type { OpenNetns } from "./netns.ts";

/** How to bring up a container's interface. */
export interface InterfaceInput {
  netns: OpenNetns;
  /** Of the container's namespace. */
  rtnl: Rtnl;
  ifname: string;
  index: number;
  /** Let IPv6 look for duplicates, which takes a second or two until an address can be used. */
  enableDad: boolean;
}

/** Addresses, up, routes: what the result says of one interface is made so. */
export function configureInterface(input: InterfaceInput, result: Result): void {
  const { rtnl, index } = input;
  prepareSysctls(
    input,
    result.ips.some(({ address }) => address.family === 6),
  );
  const changes: Change[] = [
    ...result.ips.map(({ address }) => ({ addAddress: newAddress(index, address, input.enableDad) })),
    { setLink: { link: index, up: true } },
    ...result.routes.map((route) => ({ appendRoute: newRoute(index, route, result) })),
  ];
  for (const [i, error] of rtnl.batch(changes)) {
    // The first of two equal routes stands, as with the reference.
    if ("appendRoute" in (changes[i] as Change) && isExists(error)) continue;
    throw error;
  }
}

function prepareSysctls({ netns, ifname, enableDad }: InterfaceInput, hasIpv6: boolean): void {
  const sysctl = new ProcSysctl();
  const set = (key: string, value: string) => ignoreRefusal(() => sysctl.write(key, value));
  inNetns({ fd: netns.fd }, () => {
    if (enableDad) set(`net/ipv6/conf/${ifname}/enhanced_dad`, "1");
    set(`net/ipv6/conf/${ifname}/accept_dad`, enableDad ? "1" : "0");
    // Neighbours hear of a new address when the link announces itself; see announce.
    set(`net/ipv4/conf/${ifname}/arp_notify`, "1");
    set(`net/ipv6/conf/${ifname}/ndisc_notify`, "1");
    if (!hasIpv6) return;
    for (const name of ["lo", ifname]) enable(sysctl, `net/ipv6/conf/${name}/disable_ipv6`, "0");
  });
}

/** Writes only where something else stands there. */
function enable(sysctl: ProcSysctl, key: string, value: string): void {
  ignoreAbsent(() => {
    if (sysctl.read(key) !== value) sysctl.write(key, value);
  });
}

/** A kernel without IPv6 lacks its parameters. */
function ignoreAbsent(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

/** What only makes things better may be read-only or missing. */
function ignoreRefusal(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
  }
}

/** Turns on forwarding for a family, in this process's namespace. */
export function enableForwarding(family: 4 | 6): void {
  const sysctl = new ProcSysctl();
  if (family === 4) enable(sysctl, "net/ipv4/ip_forward", "1");
  else enable(sysctl, "net/ipv6/conf/all/forwarding", "1");
}

/** Routes come from the configuration alone, not from whoever sends router advertisements. */
export function refuseRouterAdvertisements(ifname: string): void {
  ignoreRefusal(() => new ProcSysctl().write(`net/ipv6/conf/${ifname}/accept_ra`, "0"));
}

/** An address with its broadcast address; IPv6 can be used at once unless DAD is wanted. */
export function newAddress(link: number, address: Prefix, enableDad: boolean): NewAddress {
  if (address.family === 6) return { link, address, ...(enableDad ? {} : { flags: ["nodad"] }) };
  if (address.length > 30) return { link, address };
  return { link, address, broadcast: Ip.fromBigInt(address.last, 4) };
}

function newRoute(index: number, route: ResultRoute, result: Result): NewRoute {
  const { dst, gw, mtu, advmss, priority, table, scope } = route;
  const gateway = gw ?? result.ips.find((ip) => ip.address.family === dst.family)?.gateway;
  const metrics = { ...(mtu === undefined ? {} : { mtu }), ...(advmss === undefined ? {} : { advmss }) };
  return {
    dst,
    oif: index,
    scope: scope ?? "global",
    ...(gateway === undefined ? {} : { gateway }),
    ...(priority === undefined ? {} : { priority }),
    ...(table === undefined ? {} : { table }),
    ...(Object.keys(metrics).length === 0 ? {} : { metrics }),
  };
}

/**
 * Tells the neighbours where the addresses of a link are: giving it the hardware address that it has makes the kernel
 * send gratuitous ARP (arp_notify) and unsolicited neighbour advertisements (ndisc_notify). At the moment in which the
 * link came up its bridge port did not forward yet.
 */
export function announce(rtnl: Rtnl, index: number, mac: string): void {
  rtnl.links.set(index, { mac });
}
