import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { Result, ResultInterface, ResultRoute } from "../../cni/result.ts";
import { anyOf, firstOf } from "../../lib/lists.ts";
import { isErrno, isExists, isNotFound, KernelError } from "../../linux/errors.ts";
import { readText, writeExisting } from "../../linux/lean/files.ts";
import type { LeanLink, LeanRoute, LeanRtnl } from "../../linux/lean/rtnl.ts";
import { inNamespace } from "../../linux/lean/socket.ts";
import type { OpenNetns } from "./netns.ts";
import { waitFor } from "./wait.ts";

/** How to bring up a container's interface. */
export interface InterfaceInput {
  netns: OpenNetns;
  /** Of the container's namespace. */
  rtnl: LeanRtnl;
  ifname: string;
  index: number;
  /**
   * Let IPv6 look for duplicates, which takes a second or two until an address can be used; undefined leaves it as the
   * container has it.
   */
  enableDad: boolean | undefined;
  /** Make the kernel tell the neighbours of new addresses; true where not given. */
  notify?: boolean;
}

/** Addresses, up, routes: what the result says of one interface is made so. */
export function configureInterface(input: InterfaceInput, result: Result): void {
  bringUp(input, result);
  addRoutes(input, result);
}

/** Addresses and up: the first half of {@link configureInterface}. */
export function bringUp(input: InterfaceInput, result: Result): void {
  const { rtnl, index } = input;
  prepareSysctls(
    input,
    anyOf(result.ips, ({ address }) => address.family === 6),
  );
  // Neighbours hear of a new address when the link announces itself; see announce.
  if (input.notify !== false) rtnl.setArpNotify(index);
  for (const { address } of result.ips) rtnl.addAddress(index, address);
  rtnl.setUp(index, true);
}

/** The second half of {@link configureInterface}. Throws a {@link CniError} that names the interface, which the kernel knows by number. */
export function addRoutes(
  { rtnl, index, ifname }: Pick<InterfaceInput, "rtnl" | "index" | "ifname">,
  result: Result,
): void {
  for (const each of result.routes) {
    const route = newRoute(index, each, result);
    try {
      // Of a container's interfaces with a default route the last one has it, as with the reference.
      rtnl.prependRoute(route);
    } catch (error) {
      // The very same route twice.
      if (isExists(error)) continue;
      throw error instanceof KernelError ? routeRefused(route, ifname, error) : error;
    }
  }
}

function routeRefused({ dst, gateway }: LeanRoute, ifname: string, error: KernelError): CniError {
  const { errnoName, extack, remedy } = error;
  const via = gateway === undefined ? "" : ` via ${gateway}`;
  const why = extack === undefined ? errnoName : `${errnoName}: ${extack}`;
  const isOutOfReach = gateway !== undefined && isErrno(error, "ENETUNREACH", "EHOSTUNREACH");
  const help = isOutOfReach ? "Name a next hop in a network of the interface's addresses" : remedy;
  return new CniError(cniErrorCode.internal, `cannot add route ${dst}${via} on ${ifname} (${why})`, {
    cause: error,
    ...(help === undefined ? {} : { remedy: help }),
  });
}

function prepareSysctls({ netns, ifname, enableDad, notify = true }: InterfaceInput, hasIpv6: boolean): void {
  inNamespace(netns.fd, () => {
    if (enableDad === true) tryWriteSysctl(`net/ipv6/conf/${ifname}/enhanced_dad`, "1");
    if (enableDad !== undefined) tryWriteSysctl(`net/ipv6/conf/${ifname}/accept_dad`, enableDad ? "1" : "0");
    if (notify) tryWriteSysctl(`net/ipv6/conf/${ifname}/ndisc_notify`, "1");
    if (!hasIpv6) return;
    for (const name of ["lo", ifname]) requireSysctl(`net/ipv6/conf/${name}/disable_ipv6`, "0");
  });
}

/** Writes where something else stands there. A kernel without IPv6 lacks its parameters. */
function requireSysctl(key: string, value: string): void {
  const path = `/proc/sys/${key}`;
  try {
    if (readText(path).trim() !== value) writeExisting(path, value);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

/** What only makes things better may be read-only or missing. */
export function tryWriteSysctl(key: string, value: string): void {
  try {
    writeExisting(`/proc/sys/${key}`, value);
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
  }
}

/** Turns on forwarding for a family, in this process's namespace, which is that of `rtnl`. */
export function enableForwarding(rtnl: LeanRtnl, family: 4 | 6): void {
  if (rtnl.isForwarding(family) === true) return;
  requireSysctl(family === 4 ? "net/ipv4/ip_forward" : "net/ipv6/conf/all/forwarding", "1");
}

/** Routes come from the configuration alone, not from whoever sends router advertisements. */
export function refuseRouterAdvertisements(ifname: string, link?: LeanLink): void {
  if (link?.refusesRouterAdvertisements === true) return;
  tryWriteSysctl(`net/ipv6/conf/${ifname}/accept_ra`, "0");
}

const RT_SCOPE_LINK = 253;

function newRoute(index: number, route: ResultRoute, result: Result): LeanRoute {
  const { dst, gw, mtu, advmss, priority, table, scope } = route;
  // A route of such a scope is on the link: with a gateway the kernel refuses it.
  const isOnLink = scope !== undefined && scope >= RT_SCOPE_LINK;
  const via = firstOf(result.ips, ({ gateway }) => gateway?.family === dst.family);
  const gateway = gw ?? (isOnLink ? undefined : via?.gateway);
  return { dst, gateway, oif: index, scope: scope ?? 0, priority, table, mtu, advmss };
}

/** How long looking for duplicates may take. Milliseconds; the reference's. */
const patience = 10_000;

/**
 * Waits until a container's IPv6 addresses can be used. Without looking for duplicates that is soon, but not at once:
 * the kernel does it behind the caller's back. Throws where another host has the address.
 */
export async function settleAddresses(rtnl: LeanRtnl, index: number, ifname: string): Promise<void> {
  const isReady = await waitFor(patience, () => {
    const state = rtnl.addressState(index);
    if (state !== "duplicate") return state === "ready";
    throw new CniError(cniErrorCode.internal, `an IPv6 address of ${ifname} is in use by another host`, {
      remedy: "Find out who has it, or allocate from another range",
    });
  });
  if (isReady) return;
  throw new CniError(
    cniErrorCode.internal,
    `an IPv6 address of ${ifname} was not ready within ${patience / 1000} s`,
    {
      remedy: "Look whether duplicate address detection goes on in the container",
    },
  );
}

/**
 * Tells the neighbours where the addresses of a link are: giving it the hardware address that it has makes the kernel
 * send gratuitous ARP (arp_notify) and unsolicited neighbour advertisements (ndisc_notify). At the moment in which the
 * link came up its bridge port did not forward yet.
 */
export function announce(rtnl: LeanRtnl, link: LeanLink): void {
  rtnl.confirmMac(link);
}

/** Waits until what the result says of a container's interface can be used, and tells the neighbours of it. */
export async function beKnown(rtnl: LeanRtnl, link: LeanLink, result: Result): Promise<void> {
  if (anyOf(result.ips, ({ address }) => address.family === 6))
    await settleAddresses(rtnl, link.index, link.name);
  announce(rtnl, link);
}

/** A link as results have it; `sandbox` where it is a container's. */
export function describeLink({ name, mac, mtu }: LeanLink, sandbox?: string): ResultInterface {
  return sandbox === undefined ? { name, mac, mtu } : { name, mac, mtu, sandbox };
}
